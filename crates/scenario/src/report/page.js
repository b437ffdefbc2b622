// The page reads without this: it adds the search field, and opens a case that a link leads to.
(() => {
  const field = document.querySelector("#search");
  const cases = [...document.querySelectorAll(".case")];
  field.parentElement.hidden = false;
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const one of cases) {
      const name = one.querySelector("summary").textContent.toLowerCase();
      one.classList.toggle("hidden", !words.every((word) => name.includes(word)));
    }
  });
  const follow = () => {
    const id = location.hash.slice(1);
    const one = id && document.getElementById(id);
    if (one && one.tagName === "DETAILS") { one.open = true; one.scrollIntoView(); }
  };
  addEventListener("hashchange", follow);
  follow();
})();
