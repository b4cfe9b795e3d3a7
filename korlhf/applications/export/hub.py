"""Upload a folder to the hub: private unless told otherwise, and only after a yes.

Left out: pull requests, branches, other kinds of repository than models.
"""

import httpx2
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id

from korlhf.core.errors import InputError


def check_ready(name):
    """Raises InputError if `name` is not OWNER/NAME, or there is no token for the hub."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(f"--push_to_hub {name}: {' '.join(str(error).split())}") from error
    if name.count("/") != 1:
        raise InputError(f"--push_to_hub {name}: give OWNER/NAME, e.g. me/my-korean-chatbot")
    if not get_token():
        raise InputError(
            "--push_to_hub: no token for the hub; run `hf auth login`, or set the environment variable HF_TOKEN"
        )


def push(folder, name, public, licence, yes):
    """Upload a folder (Path); the address, or None if it was not wanted. yes: do not ask.

    Raises InputError if the hub refuses, or if the repository is public although `public` is False.
    """
    api = HfApi()
    try:
        try:
            private = bool(api.repo_info(name).private)
        except RepositoryNotFoundError:
            private = not public
        if not private and not public:
            raise InputError(
                f"--push_to_hub {name}: this repository is public already; give --public if all may read the model, "
                "or another name"
            )
        sizes = {p.relative_to(folder).as_posix(): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}
        who = "private" if private else "PUBLIC: everyone can read it"
        print(f"to be uploaded to {api.endpoint}/{name}, {who}, licence {licence}:")
        for path, size in sizes.items():
            print(f"  {size:>15,}  {path}")
        print(f"  {sum(sizes.values()):>15,}  bytes in {len(sizes)} files", flush=True)
        if not yes and not confirmed("Upload? [y/N] "):
            return None
        api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Model exported by KoRLHF")
    except (httpx2.HTTPError, OSError, ValueError) as error:  # also: HF_HUB_OFFLINE is set
        raise InputError(
            f"--push_to_hub {name}: {' '.join(str(error).split())[:300]}; the exported folder stays, push it again"
        ) from error
    return f"{api.endpoint}/{name}"


def confirmed(question):
    """Whether the user says yes; no answer is no."""
    try:
        return input(question).strip().lower() in ("y", "yes", "예", "네", "ㅇ")
    except EOFError:
        return False
