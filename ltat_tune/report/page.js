// Unpacks plotly.js, draws each plot when it comes near, and again when the paper changes colour.
"use strict";
(() => {
  const LIGHT = { "#1b1d21": "#1b1d21", "#5c636d": "#5c636d", "#e2e5e9": "#e2e5e9" };
  const DARK = { "#1b1d21": "#e7e9ec", "#5c636d": "#a4abb5", "#e2e5e9": "#343941" };
  const PRINTED_PX = 330; // half of A4 and Letter without their margins
  const PRINTED_SHARE = 0.46; // of a plot's height on the screen
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const plots = [...document.querySelectorAll("script[data-plot]")].map((script) => ({
    place: document.getElementById(script.dataset.plot), text: script.textContent, drawn: "",
  }));
  document.documentElement.dataset.plots = "waiting";

  function fail(why) {
    for (const { place } of plots) {
      place.classList.add("failed");
      place.textContent = `This plot cannot be drawn here (${why}). Its numbers are in the tables.`;
    }
    document.documentElement.dataset.plots = "failed";
  }

  async function unpack() {
    const packed = atob(document.getElementById("plotly").textContent);
    const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  function hasWebGl() {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
  }

  function draw(plot, paper) {
    if (plot.drawn === paper) return;
    const colours = paper === "dark" ? DARK : LIGHT;
    const figure = JSON.parse(plot.text.replace(/#1b1d21|#5c636d|#e2e5e9/g, (c) => colours[c]));
    if (figure.data.some((trace) => trace.type === "parcoords") && !hasWebGl()) {
      plot.place.classList.add("failed");
      plot.place.textContent = "This plot needs WebGL, which this browser does not offer. "
        + "Its numbers are in the table below.";
    } else {
      if (paper === "print") {
        Object.assign(figure.layout, {
          width: plot.place.closest(".broad") ? 2 * PRINTED_PX : PRINTED_PX,
          height: Math.max(150, PRINTED_SHARE * figure.layout.height),
        });
        figure.layout.font.size = 8;
      }
      plot.place.style.height = `${figure.layout.height}px`;
      Plotly.react(plot.place, figure.data, figure.layout, {
        displaylogo: false, responsive: true,
        modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
        toImageButtonOptions: { format: "svg", filename: plot.place.id },
      });
      plot.place.removeAllListeners("plotly_click");
      plot.place.on("plotly_click", ({ points }) => {
        document.dispatchEvent(new CustomEvent("trial", { detail: points[0].customdata }));
      });
    }
    plot.drawn = paper;
  }

  function markWide() {
    for (const frame of document.querySelectorAll(".scroll, .plot-frame")) {
      frame.classList.toggle("wide", frame.scrollWidth > frame.clientWidth + 2);
    }
  }

  // Folded tables are printed, and folded again afterwards.
  function unfold(open) {
    for (const folded of document.querySelectorAll("details")) {
      if (open && !folded.open) folded.dataset.printed = "1";
      if (open || folded.dataset.printed) folded.open = open;
      if (!open) delete folded.dataset.printed;
    }
  }

  // for the plots of trials.js
  window.inColours = (text) => text.replace(
    /#1b1d21|#5c636d|#e2e5e9/g, (c) => (paper() === "dark" ? DARK : LIGHT)[c],
  );

  const paper = () => (dark.matches && !window.matchMedia("print").matches ? "dark" : "light");

  function rest() {
    const next = plots.find((plot) => !plot.drawn);
    if (!next) {
      document.documentElement.dataset.plots = "drawn";
      return;
    }
    draw(next, paper());
    setTimeout(rest, 0);
  }

  function start() {
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        draw(plots.find((plot) => plot.place === entry.target), paper());
        seen.unobserve(entry.target);
      }
    }, { rootMargin: "400px" });
    for (const plot of plots) seen.observe(plot.place);
    setTimeout(rest, 300);
    dark.addEventListener("change", () => plots.forEach((plot) => draw(plot, paper())));
    window.addEventListener("beforeprint", () => plots.forEach((plot) => draw(plot, "print")));
    window.addEventListener("afterprint", () => plots.forEach((plot) => draw(plot, paper())));
    new ResizeObserver(markWide).observe(document.body);
  }

  window.addEventListener("beforeprint", () => unfold(true));
  window.addEventListener("afterprint", () => unfold(false));
  document.addEventListener("toggle", markWide, true);
  markWide();
  const packed = document.getElementById("plotly").textContent;
  if (!packed) new ResizeObserver(markWide).observe(document.body);
  if (!packed) document.documentElement.dataset.plots = "drawn"; // a page without plots
  else if (typeof DecompressionStream === "undefined") fail("the browser is too old");
  else unpack().then(start, (error) => fail(String(error)));
})();
