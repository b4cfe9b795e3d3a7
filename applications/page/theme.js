// Before anything is drawn: the reader's own choice of light or dark, if there is one. Else the system's holds (color-scheme in the styles).
document.documentElement.dataset.theme = localStorage.getItem("korlhf_theme") ?? "";
