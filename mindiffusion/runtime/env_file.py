"""The user's settings of this machine: CELEBA_PATH and others, in a file .env of the working directory."""

import io
from pathlib import Path

from dotenv import load_dotenv

from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import read_text


def read_env_file() -> None:
    """Put the lines of .env, if there is one, into ``os.environ``; what is set there already stays. UserError if it
    cannot be read."""
    path = Path.cwd() / ".env"
    try:
        load_dotenv(stream=io.StringIO(read_text(path)))
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}. Save it as UTF-8, or remove it.") from error
