// Draws the map of the zones. The list below the map says the same in words.
import cytoscape from "../vendor/cytoscape/cytoscape.esm.min.mjs";

const host = document.getElementById("zone-map");
const data = JSON.parse(document.getElementById("zone-map-data")?.textContent ?? "null");

// place puts zones on an outer ring and everything else on an inner one, in the
// order of their names, so that the map looks the same at each visit.
function place(nodes) {
  if (host.clientWidth < 640) return columns(nodes);
  const rings = [nodes.filter((n) => n.kind !== "zone"), nodes.filter((n) => n.kind === "zone")];
  const at = new Map();
  rings.forEach((ring, i) => {
    const radius = i === 0 ? 90 * Math.max(1, ring.length / 5) : Math.max(230, 46 * ring.length) + (rings[0].length > 5 ? 60 : 0);
    ring.forEach((n, k) => {
      const angle = (2 * Math.PI * k) / ring.length - Math.PI / 2 + (i === 0 ? 0.4 : 0);
      at.set(n.id, ring.length === 1 && i === 0 ? { x: 0, y: 0 } : { x: radius * 1.5 * Math.cos(angle), y: radius * Math.sin(angle) });
    });
  });
  return at;
}

// columns suit a phone: zones at the left, everything else at the right, so that the
// labels stay as large as the text beside the map.
function columns(nodes) {
  const at = new Map();
  for (const [x, list] of [[0, nodes.filter((n) => n.kind === "zone")], [230, nodes.filter((n) => n.kind !== "zone")]]) {
    list.forEach((n, i) => at.set(n.id, { x, y: (i - (list.length - 1) / 2) * 110 }));
  }
  return at;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function style() {
  const ink = colour("--ink"), surface = colour("--surface"), line = colour("--line-strong"), warn = colour("--warn-mark"), accent = colour("--accent");
  return [
    { selector: "node", style: { label: "data(label)", "text-wrap": "wrap", "text-valign": "center", color: ink, "font-size": 15, "text-max-width": 156, "text-overflow-wrap": "anywhere", "line-height": 1.25, "font-family": "system-ui, sans-serif", "background-color": surface,
      "border-width": 1.5, "border-color": line, width: 172, height: 62, shape: "round-rectangle" } },
    { selector: "node[kind != 'zone']", style: { shape: "ellipse", width: 148, height: 52, "text-max-width": 128, "border-style": "dashed" } },
    { selector: "node[?alert]", style: { "border-color": warn, "border-width": 2.5 } },
    { selector: "edge", style: { width: "mapData(rules, 1, 12, 1.2, 4)", "line-color": line, "target-arrow-color": line, "target-arrow-shape": "triangle", "curve-style": "bezier", opacity: 0.75 } },
    { selector: "edge[?command]", style: { "line-color": accent, "target-arrow-color": accent } },
    { selector: "edge[?open]", style: { "line-color": warn, "target-arrow-color": warn, "line-style": "dashed" } },
    { selector: ".far", style: { opacity: 0.12 } },
  ];
}

if (host && data) {
  // Cytoscape would add a style element of its own, which the content security
  // policy forbids: with this mark it believes that it is there. Its one rule is in
  // policy.css.
  const mark = document.createElement("meta");
  mark.id = "__________cytoscape_stylesheet";
  document.head.append(mark);
  const at = place(data.nodes);
  const graph = cytoscape({
    container: host,
    elements: [
      ...data.nodes.map((n) => ({ data: { ...n, label: n.note ? n.name + "\n" + n.note : n.name }, position: at.get(n.id) })),
      ...data.links.filter((l) => l.from !== l.to).map((l, i) => ({ data: { id: "l" + i, source: l.from, target: l.to, rules: l.rules, command: l.command, open: l.open } })),
    ],
    layout: { name: "preset", fit: true, padding: 28 },
    style: style(),
    minZoom: 0.2, maxZoom: 2.5, wheelSensitivity: 0.2, autoungrabify: true, boxSelectionEnabled: false,
  });
  graph.on("mouseover", "node", (e) => {
    graph.elements().addClass("far");
    e.target.closedNeighborhood().removeClass("far");
  });
  graph.on("mouseout", "node", () => graph.elements().removeClass("far"));
  // A node leads to its words, which a keyboard reaches too.
  graph.on("tap", "node", (e) => {
    for (const words of document.querySelectorAll("[data-words]")) {
      words.open = words.dataset.words === e.target.id();
      if (words.open) {
        words.querySelector("summary").focus();
        words.scrollIntoView({ block: "nearest" });
      }
    }
  });
  host.dataset.ready = "";
  const repaint = () => graph.style(style());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  new MutationObserver(repaint).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "class"] });
  new ResizeObserver(() => { graph.resize(); graph.fit(undefined, 28); }).observe(host);
}
