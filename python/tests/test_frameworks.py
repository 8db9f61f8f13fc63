# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Models and trainers of others leave the same bits inside a budget. All weights are random."""

from __future__ import annotations

import gc

import programs
import pytest
import torch
import torch.nn.functional as F
from harness import Training, digest, expect_equal_bits

import torch_neap as neap

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

WORDS = {"vocab_size": 128, "max_position_embeddings": 64}


def gpt2():
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=128, n_positions=64, n_embd=64, n_layer=3, n_head=4)
    )


def llama():
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            **WORDS,
        )
    )


def bert():
    return transformers.BertForMaskedLM(
        transformers.BertConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=3,
            num_attention_heads=4,
            **WORDS,
        )
    )


def t5():
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=128,
            d_model=64,
            d_ff=128,
            d_kv=16,
            num_layers=2,
            num_heads=4,
            decoder_start_token_id=0,
        )
    )


def step_of(model, inputs_of):
    optimizer = programs.adamw(model.parameters())

    def step(number):
        loss = model(**inputs_of(number)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    model.train()
    return Training(model, [optimizer], step)


def of_words(number):
    words = programs.tokens(number, length=47)
    return {"input_ids": words, "labels": words}


@pytest.mark.parametrize("model", [gpt2, llama, bert, t5])
def test_a_language_model_leaves_the_same_bits(model):
    expect_equal_bits(lambda: step_of(model(), of_words))


def vit():
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=32,
            patch_size=4,
            num_labels=10,
        )
    )


def test_a_vision_transformer_leaves_the_same_bits():
    def inputs(number):
        x, y = programs.images(number, batch=4, side=32)
        return {"pixel_values": x, "labels": y}

    expect_equal_bits(lambda: step_of(vit(), inputs))


def whisper():
    return transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(
            vocab_size=128,
            num_mel_bins=16,
            d_model=64,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=128,
            decoder_ffn_dim=128,
            max_source_positions=50,
            max_target_positions=64,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        )
    )


def test_a_speech_model_leaves_the_same_bits():
    def inputs(number):
        generator = torch.Generator().manual_seed(600 + number)
        sound = torch.randn(4, 16, 100, generator=generator)
        return {"input_features": sound, "labels": programs.tokens(number, length=23)}

    expect_equal_bits(lambda: step_of(whisper(), inputs))


@pytest.mark.parametrize(
    "name", ["resnet26d", "efficientnet_b0", "convnext_atto", "mobilenetv3_small_050"]
)
def test_a_model_of_timm_leaves_the_same_bits(name):
    timm = pytest.importorskip("timm")

    def make():
        model = timm.create_model(name, num_classes=10, drop_rate=0.1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

        def step(number):
            x, y = programs.images(number, batch=4, side=64)
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return Training(model, [optimizer], step)

    expect_equal_bits(make, (60,))


def test_a_model_of_torchvision_leaves_the_same_bits():
    torchvision = pytest.importorskip("torchvision")

    def make():
        model = torchvision.models.resnet18(num_classes=10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

        def step(number):
            x, y = programs.images(number, batch=16, side=64)
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return Training(model, [optimizer], step)

    expect_equal_bits(make, (60,))


# ---- Trainers ----


class Sentences(torch.utils.data.Dataset):
    """Sentences of random words."""

    def __len__(self):
        return 32

    def __getitem__(self, index):
        words = programs.tokens(index, batch=1, length=47)[0]
        return {"input_ids": words, "labels": words}


def trained(folder, budget, resume=None, **options):
    """Train with a `Trainer`, and hash the model. Returns the callback too."""
    from torch_neap.integrations.transformers import BudgetCallback

    torch.manual_seed(3)
    callback = BudgetCallback(budget) if budget else None
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=4,
        per_device_train_batch_size=4,
        use_cpu=True,
        report_to=[],
        save_strategy=options.pop("save_strategy", "no"),
        disable_tqdm=True,
        seed=3,
        **options,
    )
    trainer = transformers.Trainer(
        gpt2(),
        arguments,
        train_dataset=Sentences(),
        eval_dataset=Sentences(),
        callbacks=[callback] if callback else [],
    )
    trainer.train(resume_from_checkpoint=resume)
    digests = {name: digest(tensor) for name, tensor in trainer.model.named_parameters()}
    return digests, callback


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_accumulation_steps": 2},
        {"bf16": True, "eval_strategy": "steps", "eval_steps": 2},
        {"gradient_checkpointing": True},
    ],
    ids=["plain", "accumulation", "bf16 and evaluation", "gradient checkpointing"],
)
def test_trainer_leaves_the_same_bits(options, tmp_path):
    plain, _ = trained(tmp_path / "plain", None, **options)
    held, callback = trained(tmp_path / "held", "75%", **options)
    assert held == plain
    assert callback.stats.budget_bytes > 0


def test_trainer_saves_and_resumes_inside_a_budget(tmp_path):
    plain, _ = trained(tmp_path / "plain", None)
    saving = {"save_strategy": "steps", "save_steps": 2}
    trained(tmp_path / "held", "75%", **saving)
    resumed, _ = trained(tmp_path / "held", "75%", resume=str(tmp_path / "held/checkpoint-2"))
    assert resumed == plain


def test_lightning_leaves_the_same_bits(tmp_path):
    lightning = pytest.importorskip("lightning")
    from torch_neap.integrations.lightning import BudgetCallback

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = gpt2()

        def training_step(self, batch, _):
            return self.model(**batch).loss

        def configure_optimizers(self):
            return programs.adamw(self.parameters())

    def run(budget):
        lightning.seed_everything(3, verbose=False)
        callback = BudgetCallback(budget) if budget else None
        trainer = lightning.Trainer(
            max_steps=4,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
            callbacks=[callback] if callback else [],
        )
        module = Module()
        trainer.fit(module, torch.utils.data.DataLoader(Sentences(), batch_size=4))
        return [digest(parameter) for parameter in module.parameters()], callback

    plain, _ = run(None)
    held, callback = run("60%")
    assert held == plain
    assert callback.stats.evictions > 0


def test_accelerate_leaves_the_same_bits():
    accelerate = pytest.importorskip("accelerate")
    from torch_neap.integrations.accelerate import attach

    def run(budget):
        torch.manual_seed(3)
        accelerator = accelerate.Accelerator(cpu=True)
        model = gpt2()
        optimizer = programs.adamw(model.parameters())
        loader = torch.utils.data.DataLoader(Sentences(), batch_size=4)
        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        attached = attach(optimizer, budget) if budget else None
        for batch in loader:
            loss = model(**batch).loss
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            del loss
        stats = None
        if attached:
            stats = attached.stats
            attached.detach()
        return [digest(parameter) for parameter in model.parameters()], stats

    plain, _ = run(None)
    held, stats = run("62%")
    assert held == plain
    assert stats.evictions > 0


def test_the_batch_finder_of_accelerate_goes_on_with_a_smaller_batch():
    memory_module = pytest.importorskip("accelerate.utils.memory")
    gc.collect()  # what earlier tests have left would make room later
    budget = neap.memory.usage().live + (1 << 20)
    tried = []

    @memory_module.find_executable_batch_size(starting_batch_size=4096)
    def train(batch_size):
        tried.append(batch_size)
        with neap.budget(budget):
            return float((torch.ones(batch_size, 256) * 2).sum())

    train()
    assert tried[0] == 4096
    assert 0 < tried[-1] < 1024


def test_the_batch_finder_of_lightning_knows_the_error():
    memory_module = pytest.importorskip("lightning.pytorch.utilities.memory")
    with pytest.raises(neap.BudgetExceeded) as raised, neap.budget(1 << 20):
        torch.ones(1 << 20)
    assert memory_module.is_oom_error(raised.value)
