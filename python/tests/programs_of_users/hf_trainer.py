# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Trains a GPT-2 with transformers' Trainer, as its documentation shows."""

import tempfile

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

set_seed(0)
model = GPT2LMHeadModel(GPT2Config(vocab_size=128, n_positions=64, n_embd=64, n_layer=4, n_head=4))
sentences = [{"input_ids": torch.randint(0, 128, (64,))} for _ in range(64)]
for sentence in sentences:
    sentence["labels"] = sentence["input_ids"]
with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=2,
        max_steps=6,
        logging_steps=2,
        save_steps=3,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    trainer = Trainer(model, arguments, train_dataset=sentences, eval_dataset=sentences[:8])
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    print(losses, trainer.evaluate()["eval_loss"])
