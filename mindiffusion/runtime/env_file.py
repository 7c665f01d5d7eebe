"""The user's settings of this machine: CELEBA_PATH and others, in a file .env."""

import difflib
import io
import os
import sys
from pathlib import Path

from dotenv import load_dotenv

from mindiffusion.runtime.errors import UserError, first_line
from mindiffusion.runtime.files import read_text

IMAGES = "CELEBA_PATH"
ALIKE = 0.7  # of difflib's measure: CELEBA, CELEB_PATH and CELEBA_PATHS are that close


def read_env_file() -> None:
    """Put the lines of .env into ``os.environ``; what is set there already stays. That of the working directory is
    read, or that of the script's folder or the nearest above it. UserError if it cannot be read."""
    script = _script_folder()
    any(_read(folder / ".env") for folder in (Path.cwd(), script, *script.parents))


def no_images_named() -> UserError:
    """What to say where CELEBA_PATH is needed and not set."""
    others = [name for name in os.environ if name != IMAGES]
    almost = difflib.get_close_matches(IMAGES, [name.upper() for name in others], 1, ALIKE)
    meant = "".join(f"Is {name} meant for it? " for name in others if name.upper() in almost)
    folders = dict.fromkeys((Path.cwd(), _script_folder()))
    return UserError(
        "There is no path to the real images. Set CELEBA_PATH in .env or in the environment, pass --data-path "
        f"FOLDER, or use --data-path synthetic, which needs no download. {meant}A .env was "
        f"looked for in {' and '.join(map(str, folders))}, and in the folders above the last."
    )


def _script_folder() -> Path:
    return Path(sys.argv[0] or ".").resolve().parent


def _read(path: Path) -> bool:
    """Whether there was such a file. A folder of that name, which some give to a virtual environment, is none."""
    if path.is_dir():
        return False
    try:
        load_dotenv(stream=io.StringIO(read_text(path)))
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}. Save it as UTF-8, or remove it.") from error
    return True
