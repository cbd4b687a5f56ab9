for (const photo of document.querySelectorAll(".photo")) {
  const compare = photo.querySelector(".compare");
  const views = [...photo.querySelectorAll(".view")];
  const sides = compare.querySelectorAll(".side");
  const range = compare.querySelector("input[type=range]");
  const toggle = compare.querySelector("input[type=checkbox]");

  compare.querySelectorAll("select").forEach((pick, side) => {
    pick.append(...views.map((view) => new Option(view.querySelector("img").alt)));
    const show = () => sides[side].replaceChildren(...views[pick.selectedIndex].cloneNode(true).children);
    pick.selectedIndex = side + 1;
    pick.addEventListener("change", show);
    show();
  });
  const move = () => range.parentElement.style.setProperty("--at", range.value + "%");
  range.addEventListener("input", move);
  const detect = () => photo.classList.toggle("detections", toggle.checked);
  toggle?.addEventListener("change", detect);
  if (toggle) detect();
  move();
  compare.hidden = false;
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => { each.open = true; }));
