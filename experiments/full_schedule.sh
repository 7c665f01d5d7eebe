#!/usr/bin/env bash
# The full default schedule of all variants, one after the other, then their comparison and each one's speed:
#   CELEBA_PATH=/path/to/celeba_9k experiments/full_schedule.sh OUTPUT_DIR [flags of the training scripts]
# With 9,000 images that is 716,800 images per variant. Uses the GPUs of this machine, as many as divide the batch
# (GPUS=n: of so many). Begins with benchmarks/gpu_check.py and stops if that finds a fault. A second call resumes.
set -euo pipefail
output=${1:?name an output folder}
shift
cd "$(dirname "$0")/.."
gpus=${GPUS:-$(python -c "import torch; print(torch.cuda.device_count())")}
processes=$(python -c "import sys
from mindiffusion.runtime.distributed import most_processes
given = [word for each in sys.argv[2:] for word in each.split('=')]
batch = given[given.index('--global-batch-size') + 1] if '--global-batch-size' in given else 256
print(most_processes(int(sys.argv[1]), int(batch)))" "$gpus" "$@")
if [ "$gpus" -gt 0 ]; then
    python benchmarks/gpu_check.py --no-throughput --output-dir "$output/gpu_check"
fi
variants=("" c_ cs_ cr_ p_ cp_ s_)
for variant in "${variants[@]}"; do
    torchrun --standalone --nproc_per_node="$processes" "train_celeba_${variant}32.py" --output-dir "$output" --resume "$@"
done
python compare.py "$output"/contents_{,c_,cs_,cr_,p_,cp_,s_}32 -o "$output/compare.html" --overwrite
python - "$output" "${variants[@]}" <<'END'
import csv, statistics, sys

for variant in sys.argv[2:]:
    rows = list(csv.DictReader(open(f"{sys.argv[1]}/contents_{variant}32/metrics.csv")))
    speed = statistics.median(float(row["images_per_s"]) for row in rows)
    print(f"contents_{variant}32: {rows[-1]['images']} images, last loss {rows[-1]['loss']}, {speed:.0f} images/s (median)")
END
