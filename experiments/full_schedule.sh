#!/usr/bin/env bash
# The full default schedule of all four variants, one after the other, then their comparison and each one's speed:
#   CELEBA_PATH=/path/to/celeba_9k experiments/full_schedule.sh OUTPUT_DIR [flags of the training scripts]
# With 9,000 images that is 716,800 images per variant. Uses all GPUs of this machine. A second call resumes.
set -euo pipefail
output=${1:?name an output folder}
shift
cd "$(dirname "$0")/.."
gpus=$(python -c "import torch; print(max(1, torch.cuda.device_count()))")
for variant in "" c_ cs_ cr_; do
    torchrun --standalone --nproc_per_node="$gpus" "train_celeba_${variant}32.py" --output-dir "$output" --resume "$@"
done
python compare.py "$output"/contents_{,c_,cs_,cr_}32 -o "$output/compare.html"
python - "$output" <<'END'
import csv, statistics, sys

for variant in ("", "c_", "cs_", "cr_"):
    rows = list(csv.DictReader(open(f"{sys.argv[1]}/contents_{variant}32/metrics.csv")))
    speed = statistics.median(float(row["images_per_s"]) for row in rows)
    print(f"contents_{variant}32: {rows[-1]['images']} images, last loss {rows[-1]['loss']}, {speed:.0f} images/s (median)")
END
