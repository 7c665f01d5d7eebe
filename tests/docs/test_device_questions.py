"""Every place that asks a device for a number, with its reason. On a GPU such a question waits until all work before it
is done; so none may stand in a step, and none may be added without a thought."""

import ast

from house import PACKAGE, ROOT, source_files

METHODS = {"item", "tolist", "cpu", "numpy", "nonzero", "all", "any"}
FUNCTIONS = {"float", "int", "bool"}
NO_TENSOR = "of text and plain numbers"
ON_CPU = "reads what lies on the CPU"
EVALUATION = "the end of a batch, or of a metric, of an evaluation"
# (file, function): why it may ask.
REASONS = {
    ("checkpoints/checkpoint.py", "_feed"): "the checksum of a checkpoint, whose tensors are to be written anyway",
    ("checkpoints/weights.py", "check_finite"): ON_CPU,
    ("checkpoints/weights.py", "weights_digest"): ON_CPU,
    ("ddim.py", "timesteps"): ON_CPU,
    ("evaluation/bootstrap.py", "bootstrap"): EVALUATION,
    ("evaluation/faces.py", "found_faces"): ON_CPU,
    ("evaluation/inception.py", "inception_row"): EVALUATION,
    ("dpm_solver.py", "__init__"): ON_CPU,
    ("dpm_solver.py", "timesteps"): ON_CPU,
    ("evaluation/likelihood.py", "_measure"): EVALUATION,
    ("evaluation/likelihood.py", "held_out_errors"): EVALUATION,
    ("evaluation/likelihood.py", "prior_nats"): EVALUATION,
    ("evaluation/likelihood.py", "terms"): EVALUATION,
    ("evaluation/measure.py", "samples_of"): "once a batch of finished images",
    ("evaluation/plots.py", "_loss"): NO_TENSOR,
    ("evaluation/settings.py", "per_image"): EVALUATION,
    ("evaluation/subjects.py", "image_hash"): ON_CPU,
    ("evaluation/swd.py", "_apart"): EVALUATION,
    ("evaluation/swd.py", "_distance"): EVALUATION,
    ("evaluation/swd.py", "_sort"): ON_CPU,
    ("evaluation/swd.py", "statistics"): EVALUATION,
    ("reports/bands.py", "has"): NO_TENSOR,
    ("reports/bands.py", "losses"): NO_TENSOR,
    ("reports/bands.py", "measure"): "once an epoch, ten losses in one question",
    ("reports/figures.py", "draw_figures"): ON_CPU,
    ("reports/figures.py", "layer_norms"): ON_CPU,
    ("reports/grid_picture.py", "save_grid"): "once a grid, of samples that lie on the CPU",
    ("reports/grids.py", "readable_block"): "once a grid of an unfinished curriculum",
    ("reports/metrics_log.py", "state"): "once a row of the log, every 50 steps, and once a save",
    ("reports/recovery_log.py", "add"): NO_TENSOR,
    ("reports/run_record.py", "grids"): NO_TENSOR,
    ("reports/run_record.py", "read_record"): NO_TENSOR,
    ("reports/run_record.py", "stages_begun"): NO_TENSOR,
    ("reports/row_file.py", "_is_good"): NO_TENSOR,
    ("reports/row_file.py", "keep_up_to"): NO_TENSOR,
    ("runtime/precision.py", "_compiled_folder"): NO_TENSOR,
    ("runtime/versions.py", "_numbers"): NO_TENSOR,
    ("runtime/distributed.py", "_agent_store"): NO_TENSOR,
    ("runtime/distributed.py", "_count_attempt"): NO_TENSOR,
    ("runtime/distributed.py", "_fresh_store"): NO_TENSOR,
    ("runtime/distributed.py", "any"): "a flag that travels over the CPU: no wait for the GPU's queue",
    ("runtime/distributed.py", "process_group"): NO_TENSOR,
    ("runtime/distributed.py", "_place_in_job"): NO_TENSOR,
    ("runtime/distributed.py", "together"): "a message that travels over the CPU, at the start",
    ("runtime/errors.py", "_tell_torchrun"): NO_TENSOR,
    ("runtime/errors.py", "stop"): NO_TENSOR,
    ("runtime/errors.py", "stopping_at_once"): NO_TENSOR,
    ("runtime/gpu.py", "probe"): "once a run: the answer of the first kernel",
    ("runtime/precision.py", "warn_of_emulated_bf16"): NO_TENSOR,
    ("runtime/signals.py", "_note"): NO_TENSOR,
    ("sampling.py", "draw_images"): "once a batch of finished images",
    ("sampling.py", "draw_together"): "the ranks' signals, which travel over the CPU",
    ("sparse_unet.py", "num_active"): "once a stage and once a row of the log",
    ("sparse_unet.py", "num_active_channels"): NO_TENSOR,
    ("sparse_unet.py", "regrow_channels"): "once a stage",
    ("training/acceleration.py", "maybe_compile"): "once a run; a flag that travels over the CPU",
    ("training/display.py", "finish_epoch"): "a flag that travels over the CPU",
    ("training/log.py", "announce"): "once a stage",
    ("training/saver.py", "finish_epoch"): "a flag that travels over the CPU",
    ("training/saver.py", "finish_step"): "a flag that travels over the CPU",
    ("training/self_check.py", "check_ranks_agree"): "once an epoch, with several processes",
    ("training/self_check.py", "compiled_differs"): "once a run",
}
ROOMS = ("", "training", "reports", "evaluation", "checkpoints", "runtime")  # the others never meet a GPU's tensors
STEP = {"unet.py", "reg_unet.py", "preconditioned_unet.py", "curriculum_ddpm.py", "soft_curriculum_ddpm.py", "ddpm.py"}
STEP |= {"training/step.py", "training/ema.py", "training/run.py", "training/loop.py"}


def questions() -> set[tuple[str, str]]:
    """(file below mindiffusion/, function) of each call that may ask a device for a number."""
    found = set()
    for path in source_files():
        room = path.parts[1] if len(path.parts) > 2 else ""
        if path.parts[0] == PACKAGE and room in ROOMS:
            source = (ROOT / path).read_text()
            found |= {("/".join(path.parts[1:]), name) for name in asking_functions(source)}
    return found


def asking_functions(source: str) -> set[str]:
    """The functions and methods in which something may ask."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return {f.name for f in functions if any(isinstance(n, ast.Call) and asks(n) for n in ast.walk(f))}


def asks(node: ast.Call) -> bool:
    """Whether it is x.tolist() and the like, any(x), or float(x) of anything but a literal."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr in METHODS
    known = not node.args or isinstance(node.args[0], ast.Constant | ast.GeneratorExp)
    return isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS and not known


def test_every_question_to_a_device_has_a_reason_and_every_reason_its_question():
    found = questions()
    assert sorted(found - set(REASONS)) == [], "give the reason, or do not ask"
    assert sorted(set(REASONS) - found) == [], "these do not ask any more"


def test_no_question_stands_in_the_step():
    assert {file for file, _ in questions()} & STEP == set()


def test_questions_are_found():
    for question in ("x.sum().item()", "float(x.mean())", "x.cpu()", "bool(x > 0)", "(x > 0).all()"):
        assert asking_functions(f"def f(x):\n    return {question}") == {"f"}
    assert asking_functions("def f(x):\n    return float('nan'), x.float(), x.to('cuda')") == set()
