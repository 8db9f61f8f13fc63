# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Trains an autoencoder with Lightning, as its documentation shows."""

import lightning
import torch
import torch.nn.functional as F
from torch import nn


class AutoEncoder(lightning.LightningModule):
    """Makes its input from a few numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 8)
        )
        self.decoder = nn.Sequential(
            nn.Linear(8, 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 64)
        )

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        """One batch."""
        (x,) = batch
        loss = F.mse_loss(self.decoder(self.encoder(x)), x)
        print(repr(loss.item()))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


lightning.seed_everything(0, verbose=False)
data = torch.utils.data.TensorDataset(torch.randn(1024, 64))
trainer = lightning.Trainer(
    max_epochs=2,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(AutoEncoder(), torch.utils.data.DataLoader(data, batch_size=256))
