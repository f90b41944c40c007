// What surrounds the panels: buttons, lists, keys and the mouse.

const KINDS = ["split", "merge", "missed", "extra"];

Object.assign(Viewer.prototype, {
  hint: "Wheel: slices. Ctrl and wheel, + and −: zoom. Drag: pan. F: whole slice. " +
    "N, P: next, previous error. C: comment at the mouse.",

  // -- settings that a person keeps ---------------------------------------------------------------

  recall() {
    try {
      const kept = JSON.parse(window.localStorage.getItem(REMEMBERED) ?? "{}");
      this.opacity = clamp(Number(kept.opacity ?? this.opacity), 0, 1);
      this.outlines = Boolean(kept.outlines);
    } catch {
      // a browser that keeps nothing begins with the defaults
    }
  },

  remember() {
    try {
      const kept = { opacity: this.opacity, outlines: this.outlines };
      window.localStorage.setItem(REMEMBERED, JSON.stringify(kept));
    } catch {
      // as above
    }
  },

  // -- parts of the page ----------------------------------------------------------------------------

  build(parent) {
    this.panel = {};
    this.canvas = {};
    this.captions = {};
    for (const layer of LAYERS) {
      this.canvas[layer] = element("canvas", { "aria-label": layer });
      this.captions[layer] = element("div", { class: "caption" });
      this.panel[layer] = element("div", { class: "panel", "data-layer": layer },
        this.canvas[layer], this.captions[layer]);
    }
    this.tip = element("div", { class: "tip", hidden: "" });
    this.panels = element("div", { class: "panels" }, ...Object.values(this.panel), this.tip);
    this.panels.style.position = "relative";
    this.list = element("div", { class: "list" });
    this.tabs = element("div", { class: "tabs", role: "tablist" });
    this.filters = element("div", { class: "filters" });
    this.problem = element("div", { class: "problem", role: "alert", hidden: "" });
    this.status = element("div", { class: "status" });
    this.bar = element("div", { class: "bar" });
    this.slider = element("input", { type: "range", class: "slices", min: 0, "aria-label": "Slice",
      oninput: (event) => this.setSlice(this.scene.slices[Number(event.target.value)]) });
    this.sliceText = element("span", { class: "number" });
    this.root = element("div", { class: "viewer", "data-state": "loading" }, this.bar, this.problem,
      element("div", { class: "body" }, this.panels,
        element("div", { class: "side" }, this.tabs, this.filters, this.list)),
      this.status);
    parent.append(this.root);
    this.watchMouse();
  },

  /** Bring bar, captions and lists up to date with the scene. */
  renew() {
    const { names, slices } = this.scene;
    this.slider.max = slices.length - 1;
    const titles = { image: "image", truth: "ground truth", a: `A ${names.a}`, b: `B ${names.b}`,
      errors: "errors" };
    this.toggles = {};
    const toggles = LAYERS.map((layer, index) => {
      const there = layer.length > 1 || layer in names;
      this.toggles[layer] = element("button", {
        "aria-pressed": String(this.shown.has(layer)), "data-toggle": layer,
        disabled: there ? undefined : "", title: there ? titles[layer] : "no second model",
        onclick: () => this.toggle(layer),
      }, element("kbd", { text: index + 1 }), there ? titles[layer] : "B");
      return this.toggles[layer];
    });
    const judged = element("select", { "aria-label": "Errors of", title: "errors of (key E)",
      onchange: (event) => this.judge(event.target.value) },
    ...Object.keys(names).map((key) =>
      element("option", { value: key, text: `errors of ${key.toUpperCase()}` })));
    judged.value = this.judged;
    this.judgedChoice = judged;
    this.titles = titles;
    this.bar.replaceChildren(
      element("span", { class: "group" }, ...toggles), judged,
      element("label", {}, "slice", this.slider, this.sliceText),
      element("label", {}, "opacity", element("input", { type: "range", min: 0, max: 1,
        step: 0.05, value: this.opacity, "aria-label": "Opacity",
        oninput: (event) => this.show({ opacity: Number(event.target.value) }) })),
      this.wayChoice(),
      element("button", { text: "Whole slice", title: "key F", onclick: () => this.whole() }),
      element("button", { text: "Copy link", onclick: (event) => this.copyLink(event.target) }),
      element("span", { class: "spring" }), ...this.answers());
    this.captionPanels();
    this.fillSide();
  },

  wayChoice() {
    this.way = element("select", { "aria-label": "Objects as",
      onchange: (event) => this.show({ outlines: event.target.value === "outlines" }) },
    element("option", { text: "fills" }), element("option", { text: "outlines" }));
    this.way.value = this.outlines ? "outlines" : "fills";
    return this.way;
  },

  answers() {
    if (!this.may.answer) return [];
    const button = (name, key) => element("button", { class: name,
      onclick: () => this.tell("answer", name) }, element("kbd", { text: key }),
    name === "approve" ? "Approve…" : "Reject…");
    return [button("approve", "A"), button("reject", "R")];
  },

  captionPanels() {
    for (const layer of LAYERS) {
      this.captions[layer].textContent = layer === "errors"
        ? `errors of ${this.judged.toUpperCase()}` : this.titles[layer];
    }
    const legend = element("span", { class: "legend" }, ...KINDS.map((kind) => {
      const sample = element("i");
      sample.style.background = `rgb(${this.scene.colours[kind]})`;
      return element("span", {}, sample, kind);
    }));
    this.captions.errors.append("   ", legend);
  },

  fillSide() {
    const errors = this.scene.worst;
    const total = Object.values(this.scene.counts).reduce((sum, each) => sum + each, 0);
    const tab = (name, text) => element("button", { text, role: "tab",
      "aria-selected": String(this.tab === name),
      onclick: () => { this.tab = name; this.fillSide(); } });
    this.tabs.replaceChildren(tab("errors", `Errors ${total}`),
      tab("comments", `Comments ${this.comments.length}`));
    this.filters.replaceChildren(...(this.tab === "errors" ? this.errorFilters() : []));
    if (this.tab === "errors") {
      const { model, kind } = this.filter;
      this.listed = errors.filter((each) =>
        (!model || each.model === model) && (!kind || each.kind === kind));
      this.rows = this.listed.map((each) => this.errorRow(each));
    } else {
      this.listed = this.comments;
      this.rows = this.comments.map((each) => this.commentRow(each));
    }
    const nothing = this.tab === "errors" ? "No errors." :
      "No comments yet. Point at a place and press C.";
    this.list.replaceChildren(
      ...(this.rows.length ? this.rows : [element("div", { class: "empty", text: nothing })]));
    this.showCurrent();
  },

  errorFilters() {
    const choice = (name, label, values) => {
      const select = element("select", { "aria-label": label, onchange: (event) => {
        this.filter[name] = event.target.value;
        this.fillSide();
      } }, ...values.map(([value, text]) => element("option", { value, text })));
      select.value = this.filter[name];
      return select;
    };
    const models = Object.keys(this.scene.names).map((key) => [key, `of ${key.toUpperCase()}`]);
    return [choice("model", "Errors of which model", [["", "of both"], ...models]),
      choice("kind", "Kind of errors", [["", "all kinds"], ...KINDS.map((each) => [each, each])])];
  },

  errorRow(error) {
    const { model, kind, z, y, x, area, severity, truth, pred } = error;
    const mark = element("span", { class: "mark" });
    mark.style.background = `rgb(${this.scene.colours[kind]})`;
    const ids = kind === "split" ? `truth ${truth[0]} → ${pred.join(", ")}`
      : kind === "merge" ? `truth ${truth.join(" + ")} → ${pred[0]}`
        : kind === "missed" ? `truth ${truth[0]}` : `predicted ${pred[0]}`;
    return element("button", { "data-kind": kind, onclick: () => this.jumpToError(error) }, mark,
      element("span", { class: "what", text: `${model.toUpperCase()} ${kind}, z ${z}` }),
      element("span", { class: "number", text: severity.toFixed(4) }),
      element("span", { class: "more",
        text: `${area.toLocaleString("en")} px at ${y}, ${x}; ${ids}` }));
  },

  commentRow(comment) {
    const { z, y, x, text, by, at } = comment;
    return element("button", { onclick: () => {
      this.jump(z, y, x);
      this.markRow(comment);
    } }, element("span", { class: "mark pin" }), element("span", { class: "what", text }),
    element("span"), element("span", { class: "more",
      text: `${by}, ${new Date(at).toLocaleString()}; z ${z} at ${y}, ${x}` }));
  },

  jumpToError(error) {
    if (error.model !== this.judged) this.judge(error.model);
    this.jump(error.z, error.y, error.x, error.area);
    this.markRow(error);
  },

  markRow(item) {
    this.chosen = item;
    this.showCurrent();
  },

  showCurrent() {
    this.rows.forEach((row, index) => {
      const current = this.listed[index] === this.chosen;
      row.setAttribute("aria-current", String(current));
      if (current) row.scrollIntoView({ block: "nearest" });
    });
  },

  // -- what a person does -----------------------------------------------------------------------------

  toggle(layer) {
    if (this.toggles[layer].disabled) return;
    if (this.shown.has(layer) && this.shown.size > 1) this.shown.delete(layer);
    else this.shown.add(layer);
    this.toggles[layer].setAttribute("aria-pressed", String(this.shown.has(layer)));
    this.changed();
  },

  judge(model) {
    if (!(model in this.scene.names)) return;
    this.judged = model;
    this.judgedChoice.value = model;
    for (const tile of this.store.tiles.values()) tile.painted.delete("errors");
    this.captionPanels();
    this.changed();
  },

  show(settings) {
    Object.assign(this, settings);
    this.way.value = this.outlines ? "outlines" : "fills";
    this.remember();
    this.redraw();
  },

  whole() {
    this.fit();
    this.changed();
  },

  async copyLink(button) {
    this.updateLink();
    try {
      await navigator.clipboard.writeText(window.location.href);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Copy the address of this page";
    }
    setTimeout(() => { button.textContent = "Copy link"; }, 2000);
  },

  nextError(by) {
    if (this.tab !== "errors" || !this.listed.length) return;
    const at = this.listed.indexOf(this.chosen);
    this.jumpToError(this.listed[clamp(at + by, 0, this.listed.length - 1)]);
  },

  comment() {
    if (!this.may.comment || !this.mouse) return;
    this.tell("mark", { token: this.token, z: this.z, y: this.mouse.y, x: this.mouse.x });
  },

  key(event) {
    const target = event.composedPath()[0];
    const types = target instanceof Element &&
      target.closest("input:not([type=range]), textarea, select, [contenteditable=true], [role=dialog]");
    if (types || event.ctrlKey || event.metaKey || event.altKey || !this.scene) return;
    if (document.querySelector("[role=dialog]")) return;
    const act = this.actions()[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  },

  actions() {
    const far = 10;
    const answer = (what) => () => this.may.answer && this.tell("answer", what);
    return {
      ArrowUp: () => this.step(1), ArrowRight: () => this.step(1),
      ArrowDown: () => this.step(-1), ArrowLeft: () => this.step(-1),
      PageUp: () => this.step(far), PageDown: () => this.step(-far),
      Home: () => this.step(-Infinity), End: () => this.step(Infinity),
      1: () => this.toggle("image"), 2: () => this.toggle("truth"), 3: () => this.toggle("a"),
      4: () => this.toggle("b"), 5: () => this.toggle("errors"),
      "+": () => this.zoomBy(1.5), "=": () => this.zoomBy(1.5), "-": () => this.zoomBy(1 / 1.5),
      f: () => this.whole(), o: () => this.show({ outlines: !this.outlines }),
      e: () => this.judge(this.judged === "a" ? "b" : "a"),
      n: () => this.nextError(1), p: () => this.nextError(-1),
      c: () => this.comment(), a: answer("approve"), r: answer("reject"),
    };
  },

  watchMouse() {
    let drag = null;
    const layerOf = (event) => event.target.closest?.(".panel")?.dataset.layer;
    const inPanel = (event, layer) => {
      const box = this.panel[layer].getBoundingClientRect();
      return [event.clientY - box.top, event.clientX - box.left];
    };
    this.panels.addEventListener("pointerdown", (event) => {
      const layer = layerOf(event);
      if (!layer || !this.scene || event.button !== 0) return;
      drag = { x: event.clientX, y: event.clientY };
      this.panels.setPointerCapture(event.pointerId);
      document.activeElement?.blur?.();
    });
    this.panels.addEventListener("pointermove", (event) => {
      if (!this.scene) return;
      if (drag) {
        this.moveTo(this.y - (event.clientY - drag.y) / this.zoom,
          this.x - (event.clientX - drag.x) / this.zoom);
        drag = { x: event.clientX, y: event.clientY };
        return;
      }
      const layer = layerOf(event);
      this.point(layer && { layer, at: inPanel(event, layer) });
    });
    this.panels.addEventListener("pointerup", () => { drag = null; });
    this.panels.addEventListener("pointercancel", () => { drag = null; });
    this.panels.addEventListener("pointerleave", () => this.scene && this.point(null));
    this.panels.addEventListener("dblclick", (event) => {
      const layer = layerOf(event);
      if (layer && this.scene) this.zoomBy(2, inPanel(event, layer));
    });
    this.panels.addEventListener("wheel", (event) => {
      const layer = layerOf(event);
      if (!layer || !this.scene) return;
      event.preventDefault();
      if (event.ctrlKey || event.metaKey) {
        this.zoomBy(2 ** (-event.deltaY / 240), inPanel(event, layer));
      } else {
        this.wheel(event.deltaY);
      }
    }, { passive: false });
  },

  /** A notch of a mouse's wheel is a slice; of a touch pad, so many pixels are. */
  wheel(delta) {
    this.rolled = (this.rolled ?? 0) + delta;
    const slices = Math.trunc(this.rolled / 50);
    if (!slices) return;
    this.rolled = 0;
    this.step(Math.sign(slices));
  },

  /** Show what is under the mouse, in all panels. */
  point(place) {
    const [, tall, wide] = this.scene.shape;
    this.mouse = null;
    if (place) {
      const [height, width] = this.size();
      const y = Math.floor(this.y + (place.at[0] - height / 2) / this.zoom);
      const x = Math.floor(this.x + (place.at[1] - width / 2) / this.zoom);
      if (y >= 0 && x >= 0 && y < tall && x < wide) this.mouse = { layer: place.layer, y, x };
    }
    this.tip.hidden = !this.mouse;
    if (this.mouse) {
      const panel = this.panel[place.layer];
      this.tip.textContent = this.underMouse().slice(1, -1).join("\n");
      const [top, left] = [panel.offsetTop + place.at[0], panel.offsetLeft + place.at[1]];
      const right = left + 14 + this.tip.offsetWidth > this.panels.clientWidth;
      this.tip.style.top = `${Math.min(top + 14, this.panels.clientHeight - 60)}px`;
      this.tip.style.left = `${right ? left - 14 - this.tip.offsetWidth : left + 14}px`;
    }
    this.redraw();
  },
});
