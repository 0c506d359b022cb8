(function () {
  "use strict";
  var dialog = document.getElementById("enlarged");
  if (!dialog || !dialog.showModal) return;
  var picture = dialog.querySelector("img");
  var caption = dialog.querySelector("p");
  function enlarge(image) {
    picture.src = image.src;
    picture.alt = image.alt;
    caption.textContent = image.alt;
    dialog.showModal();
  }
  document.querySelectorAll("img[data-enlarge]").forEach(function (image) {
    image.tabIndex = 0;
    image.setAttribute("role", "button");
    image.classList.add("enlargeable");
    image.addEventListener("click", function () { enlarge(image); });
    image.addEventListener("keydown", function (event) {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); enlarge(image); }
    });
  });
  dialog.addEventListener("click", function () { dialog.close(); });
})();
