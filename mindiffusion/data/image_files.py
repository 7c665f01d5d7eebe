"""The image files of a folder: which there are, in what order, and what else lies among them."""

import os
from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from mindiffusion.runtime.env_file import no_images_named
from mindiffusion.runtime.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")


@dataclass(frozen=True)
class ImageFile:
    """``name`` is the posix path relative to the data folder; ``size`` in bytes; ``times``: when its content and when
    anything about it was last changed, in ns. The second cannot be set by a program that puts back the first."""

    name: str
    size: int
    times: tuple[int, int]


@dataclass(frozen=True)
class ImageFolder:
    """``files``: the images in ``root``, which has no links, and in its subfolders, sorted by name. ``left_out``: how
    many other files of each ending there are."""

    root: Path
    files: list[ImageFile]
    left_out: Counter[str]

    def __str__(self) -> str:
        counts = [f"{count:,} {ending}" for ending, count in self.left_out.most_common()]
        images = "1 image" if len(self.files) == 1 else f"{len(self.files):,} images"
        return f"{images} in {self.root}" + (f"; left out: {', '.join(counts)}" if counts else "")


def find_images(data_path: str | Path | None) -> ImageFolder:
    """The images of the folder that ``data_path`` names. UserError if it names none, or if there are no images.

    Links are followed, but each folder is visited once, so a link to a parent is harmless. Hidden files and folders are
    left alone: macOS leaves a ``._x.jpg`` that is no image beside x.jpg. A link to nothing gets size -1.
    """

    def fail(error: OSError) -> None:
        raise UserError(f"The data folder {error.filename} cannot be read ({error.strerror}): allow it, or remove it.")

    root = _folder(data_path)
    files, visited, left_out = [], set(), Counter()
    for folder, subfolders, names in os.walk(root, onerror=fail, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in (name for name in names if not name.startswith(".")):
            path = Path(folder, name)
            if path.suffix.lower() in EXTENSIONS:
                files.append(_image_file(root, path))
            else:
                left_out[path.suffix.lower() or "without an ending"] += 1
    if not files:
        endings = ", ".join(EXTENSIONS)
        raise UserError(f"There are no images in {root} ({endings}): point CELEBA_PATH or --data-path at some.")
    return ImageFolder(root, sorted(files, key=lambda file: file.name), left_out)


def _folder(data_path: str | Path | None) -> Path:
    if not data_path or not str(data_path).strip():
        raise no_images_named()
    root = Path(os.path.realpath(os.path.expanduser(data_path)))
    if root.is_dir():
        return root
    wrong = "is a file, not a folder: unpack it if it is an archive." if root.exists() else "does not exist."
    meant = f" (Looked for {root}.)" if str(root) != str(data_path) else ""
    raise UserError(f"The data path {data_path} {wrong}{meant} Correct CELEBA_PATH or --data-path.")


def _image_file(root: Path, path: Path) -> ImageFile:
    name = path.relative_to(root).as_posix()
    try:
        status = path.stat()
    except OSError:
        return ImageFile(name, -1, (0, 0))
    return ImageFile(name, status.st_size, (status.st_mtime_ns, status.st_ctime_ns))


def digest(lines) -> str:
    """BLAKE2b of lines of text, which may hold the names of files: those need not be valid UTF-8."""
    return blake2b("\n".join(lines).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
