// Modules and workers are not loaded from file://: the page says so instead of staying dead.
if (location.protocol === "file:") {
  document.getElementById("needs-server").hidden = false;
  document.querySelector("main").hidden = true;
} else {
  const viewer = document.createElement("script");
  viewer.type = "module";
  viewer.src = "viewer.js";
  document.head.append(viewer);
}
