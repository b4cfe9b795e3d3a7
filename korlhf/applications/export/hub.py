"""Upload a folder to the hub: private unless told otherwise, and only after a yes.

Left out: pull requests, branches, other kinds of repository than models.
"""

from pathlib import Path

import httpx2
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id

from korlhf.core.errors import InputError


def check_name(name):
    """Raises InputError if `name` is not OWNER/NAME."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(f"--push_to_hub {name}: {' '.join(str(error).split())}") from error
    if name.count("/") != 1:
        raise InputError(f"--push_to_hub {name}: give OWNER/NAME, e.g. me/my-korean-chatbot")


def check_ready(name):
    """Raises InputError if `name` is not OWNER/NAME, or there is no token for the hub."""
    check_name(name)
    if not get_token():
        raise InputError(
            "--push_to_hub: no token for the hub; run `hf auth login`, or set the environment variable HF_TOKEN"
        )


def files_of(folder):
    """[(path inside the folder, bytes)], in order."""
    folder = Path(folder)
    return [(p.relative_to(folder).as_posix(), p.stat().st_size) for p in sorted(folder.rglob("*")) if p.is_file()]


def push(folder, name, public, licence, ask):
    """Upload; the address, or None if it was not wanted.

    ask: function of a question -> bool; it is called once, after everything that will be uploaded is printed.
    Raises InputError without a token, if the hub refuses, or if the repository is public although `public` is False.
    """
    check_ready(name)
    api = HfApi()
    try:
        private = _is_private(api, name)
        if private is False and not public:
            raise InputError(
                f"--push_to_hub {name}: this repository is public already; give --public if all may read the model, "
                "or another name"
            )
        private = (not public) if private is None else private
        files = files_of(folder)
        who = "private" if private else "PUBLIC: everyone can read it"
        print(f"to be uploaded to {api.endpoint}/{name}, {who}, licence {licence}:")
        for path, size in files:
            print(f"  {size:>15,}  {path}")
        print(f"  {sum(size for _, size in files):>15,}  bytes in {len(files)} files", flush=True)
        if not ask("Upload? [y/N] "):
            return None
        api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Model exported by KoRLHF")
    except OfflineModeIsEnabled as error:
        raise InputError("--push_to_hub: HF_HUB_OFFLINE is set; unset it to upload") from error
    except (httpx2.HTTPError, OSError, ValueError) as error:
        raise InputError(
            f"--push_to_hub {name}: {' '.join(str(error).split())[:300]}; the exported folder stays, push it again"
        ) from error
    return f"{api.endpoint}/{name}"


def _is_private(api, name):
    """Whether a repository is private; None if there is none."""
    try:
        return bool(api.repo_info(name).private)
    except RepositoryNotFoundError:
        return None
