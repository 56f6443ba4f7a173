"use strict";
// Volumes come from the page itself. NiiVue draws the planes and the surfaces; the outlines are drawn here, above the
// planes, because each reader's line must stay visible where others lie on it.
(async () => {
  const byId = (id) => document.getElementById(id);
  const facts = JSON.parse(byId("facts").textContent);
  const still = (reason) => { byId("reason").textContent = `Still pictures: ${reason}`; };
  if (!document.createElement("canvas").getContext("webgl2")) return still("this browser offers no WebGL 2.");

  const AXES = [[0, 1, 2], [0, 2, 1], [1, 2, 0]]; // axial, coronal, sagittal: across, up, through
  const PLANE_NAMES = ["axial", "coronal", "sagittal"];
  const MOST_KEPT = 400; // outlines of so many planes are remembered
  const [nx, ny, nz] = facts.shape;
  const shown = facts.names.map(() => true);
  // widest first, so that a model's line never hides a reader's
  const order = facts.names.map((_, bit) => bit).sort((a, b) => facts.names[b].width - facts.names[a].width);
  let plane = 0;
  let codes = [];
  const surfaces = [];

  const volume = (id, options) =>
    niivue.NVImage.loadFromBase64({ base64: byId(id).textContent, name: `${id}.nii.gz`, ...options });
  const marked = (bit, x, y, z) => (codes[bit >> 4][x + nx * (y + ny * z)] >> (bit & 15)) & 1;

  // ---- outlines -------------------------------------------------------------------------------------------------
  // Corners of a cell: 1 (i, j), 2 (i+1, j), 4 (i+1, j+1), 8 (i, j+1). Sides: 0 below, 1 right, 2 above, 3 left.
  const SEGMENTS = [[], [0, 3], [1, 0], [1, 3], [2, 1], [0, 3, 2, 1], [2, 0], [2, 3],
    [3, 2], [0, 2], [1, 0, 3, 2], [1, 2], [3, 1], [0, 1], [3, 0], []];
  const SIDES = [[1, 0], [2, 1], [1, 2], [0, 1]]; // middle of each side in half voxels
  const kept = new Map();

  function outline(bit, through, place) {
    const key = `${bit}/${through}/${place}`;
    if (!kept.has(key)) {
      if (kept.size > MOST_KEPT) kept.clear();
      kept.set(key, loops(bit, through, place));
    }
    return kept.get(key);
  }

  function loops(bit, through, place) {
    const [u, v] = AXES.find((axes) => axes[2] === through);
    const wide = facts.shape[u];
    const high = facts.shape[v];
    const at = [0, 0, 0];
    at[through] = place;
    const inside = (i, j) => {
      if (i < 0 || j < 0 || i >= wide || j >= high) return 0;
      at[u] = i;
      at[v] = j;
      return marked(bit, at[0], at[1], at[2]);
    };
    const next = new Map();
    const stride = 2 * wide + 4;
    for (let j = -1; j < high; j++) {
      for (let i = -1; i < wide; i++) {
        const kind = inside(i, j) | (inside(i + 1, j) << 1) | (inside(i + 1, j + 1) << 2) | (inside(i, j + 1) << 3);
        const sides = SEGMENTS[kind].map((side) => 2 * i + SIDES[side][0] + 2 + stride * (2 * j + SIDES[side][1] + 2));
        for (let k = 0; k < sides.length; k += 2) next.set(sides[k], sides[k + 1]);
      }
    }
    const found = [];
    while (next.size) {
      const first = next.keys().next().value;
      const loop = [];
      for (let point = first; next.has(point);) {
        loop.push([((point % stride) - 2) / 2, (Math.floor(point / stride) - 2) / 2]);
        const following = next.get(point);
        next.delete(point);
        point = following;
      }
      found.push(loop);
    }
    return found;
  }

  function drawLines() {
    const canvas = byId("lines");
    const pen = canvas.getContext("2d");
    const ratio = nv.gl.canvas.width / nv.gl.canvas.clientWidth;
    canvas.width = nv.gl.canvas.width;
    canvas.height = nv.gl.canvas.height;
    const here = voxel();
    for (const tile of nv.screenSlices.filter((one) => one.axCorSag < 3 && one.fovMM.length > 1)) {
      const [u, v, through] = AXES[tile.axCorSag];
      const [left, top, width, height] = tile.leftTopWidthHeight;
      pen.save();
      pen.beginPath();
      pen.rect(left, top, width, height);
      pen.clip();
      pen.lineJoin = "round";
      const x = (i) => left + ((i * facts.spacing[u] - tile.leftTopMM[0]) / tile.fovMM[0]) * width;
      const y = (j) => top + height - ((j * facts.spacing[v] - tile.leftTopMM[1]) / tile.fovMM[1]) * height;
      for (const bit of order.filter((one) => shown[one])) {
        pen.beginPath();
        for (const loop of outline(bit, through, here[through])) {
          loop.forEach(([i, j], k) => (k ? pen.lineTo(x(i), y(j)) : pen.moveTo(x(i), y(j))));
          pen.closePath();
        }
        const name = facts.names[bit];
        pen.setLineDash(name.dash.map((length) => length * ratio));
        pen.lineWidth = name.width * ratio;
        pen.strokeStyle = name.colour;
        pen.stroke();
      }
      pen.restore();
      if (tile.axCorSag === plane && document.activeElement === nv.gl.canvas) {
        pen.strokeStyle = "#56b4e9";
        pen.lineWidth = 2 * ratio;
        pen.strokeRect(left + ratio, top + ratio, width - 2 * ratio, height - 2 * ratio);
      }
    }
  }

  // ---- surfaces: naive surface nets, one vertex in every cell that the surface crosses ----------------------------
  function surface(bit) {
    const box = facts.names[bit].box; // nothing is marked outside
    const [ox, oy, oz] = box.map(([low]) => low);
    const [lx, ly, lz] = box.map(([low, high]) => high - low);
    const [mx, my, mz] = [lx + 1, ly + 1, lz + 1]; // cells, with a border of nothing around the box
    const vertex = new Int32Array(mx * my * mz).fill(-1);
    const inside = (x, y, z) =>
      x >= 0 && y >= 0 && z >= 0 && x < lx && y < ly && z < lz ? marked(bit, ox + x, oy + y, oz + z) : 0;
    const points = [];
    const triangles = [];
    const crossed = [];
    const corners = new Uint8Array(8);
    for (let z = 0; z < mz; z++) for (let y = 0; y < my; y++) for (let x = 0; x < mx; x++) {
      let count = 0;
      for (let c = 0; c < 8; c++) count += corners[c] = inside(x - 1 + (c & 1), y - 1 + ((c >> 1) & 1), z - 1 + (c >> 2));
      if (count === 0 || count === 8) continue;
      const sum = [0, 0, 0];
      let crossings = 0;
      for (let c = 0; c < 8; c++) for (let axis = 0; axis < 3; axis++) {
        const other = c | (1 << axis);
        if (other === c || corners[c] === corners[other]) continue;
        crossings++;
        for (let k = 0; k < 3; k++) sum[k] += (((c >> k) & 1) + ((other >> k) & 1)) / 2;
      }
      const here = x + mx * (y + my * z);
      vertex[here] = points.length / 3;
      [x, y, z].forEach((place, k) => points.push((box[k][0] + place - 1 + sum[k] / crossings) * facts.spacing[k]));
      for (let axis = 0; axis < 3; axis++) { // edges that end in the cell's last corner: four cells share each
        const before = corners[7 ^ (1 << axis)];
        if (before !== corners[7]) crossed.push([here, axis, before]);
      }
    }
    const steps = [1, mx, mx * my];
    for (const [here, axis, before] of crossed) {
      const [u, v] = [steps[(axis + 1) % 3], steps[(axis + 2) % 3]];
      const [a, b, c, d] = [vertex[here], vertex[here + u], vertex[here + u + v], vertex[here + v]];
      if (before) triangles.push(a, b, c, a, c, d);
      else triangles.push(a, c, b, a, d, c);
    }
    return [new Float32Array(points), new Uint32Array(triangles)];
  }

  // ---- page -------------------------------------------------------------------------------------------------------
  const voxel = () => [...nv.frac2vox(nv.scene.crosshairPos)].map((place, axis) =>
    Math.min(Math.max(Math.round(place), 0), facts.shape[axis] - 1));

  function tell() {
    const here = voxel();
    const slices = PLANE_NAMES.map((name, k) => {
      const axis = AXES[k][2];
      return `${k === plane ? "▸ " : ""}${name} ${facts.first[axis] + here[axis] * facts.steps[axis] + 1} of ${facts.whole[axis]}`;
    });
    const who = facts.names.filter((_, bit) => marked(bit, ...here)).map((name) => name.name);
    const hu = facts.hasImage ? `${Math.round(nv.volumes[0].getValue(...here))} HU`.replace("-", "−") : "";
    const by = facts.structures ? who.join(", ") || "background" : `marked by ${who.join(", ") || "nobody"}`;
    byId("where").textContent = [...slices, hu, by].filter(Boolean).join(" · ");
  }

  function show(bit, on) {
    shown[bit] = on;
    byId("names").querySelectorAll("input")[bit].checked = on;
    if (surfaces[bit]) surfaces[bit].visible = on;
    nv.drawScene();
    solid.drawScene();
  }

  function setWindow(name) {
    if (!facts.hasImage) return;
    [, nv.volumes[0].cal_min, nv.volumes[0].cal_max] = facts.windows.find(([known]) => known === name);
    facts.window = name;
    nv.updateGLVolume();
    for (const button of byId("windows").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.textContent === name));
    }
  }

  function setShare(percent) {
    byId("opacity").value = percent;
    nv.setOpacity(nv.volumes.length - 1, percent / 100);
  }

  function move(axis, by) {
    const here = voxel();
    here[axis] = Math.min(Math.max(here[axis] + by, 0), facts.shape[axis] - 1);
    nv.scene.crosshairPos = nv.vox2frac(here);
    nv.drawScene();
    tell();
  }

  function zoom(factor) {
    const pan = [...nv.scene.pan2Dxyzmm].slice(0, 3);
    const now = nv.scene.pan2Dxyzmm[3];
    const next = Math.min(Math.max(now * factor, 1), 12);
    const here = voxel(); // the crosshair keeps its place on the screen
    const moved = pan.map((mm, axis) => mm - (next - now) * here[axis] * facts.spacing[axis]);
    nv.setPan2Dxyzmm(next === 1 ? [0, 0, 0, 1] : [...moved, next]);
  }

  function restart() {
    nv.scene.crosshairPos = nv.vox2frac(facts.start);
    nv.setPan2Dxyzmm([0, 0, 0, 1]);
    solid.setRenderAzimuthElevation(110, 15);
    tell();
  }

  function buildPanel() {
    facts.names.forEach((name, bit) => {
      const label = document.createElement("label");
      const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
      box.addEventListener("change", () => show(bit, box.checked));
      const line = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      line.setAttribute("viewBox", "0 0 30 14");
      const stroke = document.createElementNS("http://www.w3.org/2000/svg", "path");
      const looks = { d: "M2 7h26", stroke: name.colour, "stroke-width": name.width, "stroke-dasharray": name.dash.join(" ") };
      Object.entries(looks).forEach(([key, value]) => stroke.setAttribute(key, value));
      line.append(stroke);
      const text = document.createElement("span");
      text.textContent = name.name + (name.role === "model" ? " (model)" : "");
      const size = Object.assign(document.createElement("span"), { className: "ml" });
      size.textContent = name.ml ? `${name.ml < 10 ? name.ml.toFixed(2) : name.ml.toFixed(0)} ml` : "not marked";
      label.append(box, line, text, size);
      byId("names").append(label);
    });
    if (!facts.hasImage) byId("windows").hidden = true;
    for (const [name] of facts.windows) {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
      button.addEventListener("click", () => setWindow(name));
      byId("windows").querySelector("div").append(button);
    }
    byId("opacity").addEventListener("input", (event) => setShare(Number(event.target.value)));
  }

  const KEYS = {
    ArrowUp: () => move(AXES[plane][2], 1),
    ArrowDown: () => move(AXES[plane][2], -1),
    PageUp: () => move(AXES[plane][2], 5),
    PageDown: () => move(AXES[plane][2], -5),
    x: () => { plane = 2; },
    y: () => { plane = 1; },
    z: () => { plane = 0; },
    d: () => facts.structures || setShare(Number(byId("opacity").value) ? 0 : 60),
    w: () => {
      const names = facts.windows.map(([name]) => name);
      setWindow(names[(names.indexOf(facts.window) + 1) % names.length]);
    },
    a: () => { const on = !shown.every(Boolean); shown.forEach((_, bit) => show(bit, on)); },
    r: restart,
    "+": () => zoom(1.25),
    "=": () => zoom(1.25),
    "-": () => zoom(0.8),
  };

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.type === "range") return;
    const bit = Number(event.key) - 1;
    if (KEYS[event.key]) KEYS[event.key]();
    else if (bit >= 0 && bit < shown.length) show(bit, !shown[bit]);
    else return;
    event.preventDefault();
    event.stopPropagation(); // NiiVue has keys of its own
    nv.drawScene();
    tell();
  }

  function arrange() {
    const { clientWidth, clientHeight } = byId("planes").parentElement;
    nv.opts.multiplanarLayout = clientWidth > clientHeight ? 3 : 1; // in a row, or one below the other
    nv.drawScene();
  }

  const COMMON = { backColor: [0, 0, 0, 1], dragAndDropEnabled: false, loadingText: "", logLevel: "error", isResizeCanvas: true };
  const nv = new niivue.Niivue({
    ...COMMON, isRadiologicalConvention: true, sagittalNoseLeft: true, multiplanarShowRender: 0, multiplanarPadPixels: 4,
    crosshairColor: [1, 1, 1, 0.45], crosshairWidth: 0.15, crosshairGap: 4, fontColor: [1, 1, 1, 1], fontMinPx: 11,
    scrollRequiresFocus: true,
  });
  const solid = new niivue.Niivue({ ...COMMON, show3Dcrosshair: false, isOrientCube: false, scrollRequiresFocus: true });

  async function start() {
    byId("desk").hidden = false;
    await nv.attachTo("planes");
    await solid.attachTo("solid");
    nv.addColormap("share", { R: [0, 0, 87, 165, 255], G: [0, 32, 92, 156, 234], B: [0, 76, 109, 116, 70],
      A: [0, 190, 215, 235, 120], I: [0, 2, 85, 170, 255] });
    const parts = Array.from({ length: Math.ceil(facts.names.length / 16) }, (_, k) => volume(`codes-${k}`, {}));
    codes = (await Promise.all(parts)).map((part) => part.img);
    const ground = facts.hasImage ? volume("ct", { colormap: "gray" }) : volume("share", { cal_min: 0, cal_max: 1e6 });
    nv.addVolume(await ground);
    nv.addVolume(await volume("share", { colormap: "share", cal_min: 0, cal_max: 100, opacity: 0 }));
    buildPanel();
    setWindow(facts.window);
    nv.setSliceType(nv.sliceTypeMultiplanar);
    solid.setSliceType(solid.sliceTypeRender);
    facts.names.forEach((name, bit) => {
      const rgb = [1, 3, 5].map((k) => parseInt(name.colour.slice(k, k + 2), 16));
      const [points, triangles] = surface(bit);
      const opacity = { model: 0.55, structure: 0.8 }[name.role] || 0.3;
      if (triangles.length) {
        surfaces[bit] = new niivue.NVMesh(points, triangles, name.name, new Uint8Array([...rgb, 255]), opacity, true, solid.gl);
        solid.addMesh(surfaces[bit]);
      }
    });
    const draw = nv.drawScene.bind(nv);
    nv.drawScene = (...given) => {
      const drawn = draw(...given);
      drawLines();
      return drawn;
    };
    nv.onLocationChange = tell;
    window.addEventListener("keydown", onKey, true);
    window.addEventListener("resize", arrange);
    arrange();
    restart();
  }

  try {
    await start();
    byId("stills").hidden = true;
    byId("reason").hidden = true;
    document.body.dataset.viewer = "ready";
  } catch (error) {
    byId("desk").hidden = true;
    still(`the viewer could not start (${error.message}).`);
  }
})();
