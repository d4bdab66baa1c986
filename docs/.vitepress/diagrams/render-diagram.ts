import { instance } from '@viz-js/viz';

/**
 * How all pictures are laid out. The colours come with the style sheet, so that they can be dark as well. Texts are
 * shown smaller than they are laid out here, since a reader's font may be wider than the one Graphviz knows.
 */
const LOOK = {
  graphAttributes: {
    bgcolor: 'transparent',
    fontname: 'Helvetica',
    fontsize: 13,
    margin: 0.05,
    nodesep: 0.35,
    pad: 0.1,
    ranksep: 0.35,
  },
  nodeAttributes: {
    fontname: 'Helvetica',
    fontsize: 15,
    height: 0.4,
    margin: '0.14,0.07',
    shape: 'box',
    style: 'rounded',
  },
  edgeAttributes: { arrowsize: 0.7, fontname: 'Helvetica', fontsize: 12.5 },
} as const;

/** What stands for the colours of a page, where the picture is not part of one. */
const STYLE = `<style>
.diagram { --line: #57606a; --text: #1f2328; --box: #f6f8fa; --ours: #ddf4ff; --good: #dafbe1; --bad: #ffebe9; }
@media (prefers-color-scheme: dark) {
  .diagram { --line: #8b949e; --text: #e6edf3; --box: #21262d; --ours: #0c2d6b; --good: #033a16; --bad: #67060c; }
}
.diagram text { fill: var(--text); font-family: Helvetica, Arial, sans-serif; }
.diagram .node text { font-size: 13px; }
.diagram :is(.edge, .cluster) text { font-size: 11px; }
.diagram :is(path, polygon) { stroke: var(--line); }
.diagram .node :is(path, polygon) { fill: var(--box); }
.diagram .cluster :is(path, polygon) { fill: none; stroke-dasharray: 4; }
.diagram .edge path { fill: none; }
.diagram .edge polygon { fill: var(--line); }
.diagram .ours :is(path, polygon) { fill: var(--ours); }
.diagram .good :is(path, polygon) { fill: var(--good); }
.diagram .bad :is(path, polygon) { fill: var(--bad); }
.diagram .end :is(path, polygon) { stroke-width: 2; }
.diagram :is(.quiet, .kill) path { stroke-dasharray: 4; }
</style>`;

/**
 * Draws a picture of its text, without a browser.
 *
 * @param source a graph in the language of Graphviz, whose first comments are its title and what it shows
 */
export async function renderDiagram(source: string): Promise<string> {
  const [title = '', ...about] = source
    .split(/^digraph/m)[0]!
    .split('\n')
    .map((line) => line.replace(/^\/\/ ?/, '').trim());
  const viz = await instance();
  const drawn = viz.renderString(source, { format: 'svg', ...LOOK });
  const [, viewBox] = /viewBox="([^"]*)"/.exec(drawn)!;
  const [, , width] = viewBox!.split(' ');
  const shapes = drawn
    .slice(drawn.indexOf('<g '), drawn.lastIndexOf('</svg>'))
    .replaceAll(/<!--.*?-->\n|<title>.*?<\/title>\n|<polygon fill="transparent"[^>]*\/>\n/gs, '')
    .replaceAll(/ (id|fill|stroke|font-family)="[^"]*"/g, '');
  return `<svg xmlns="http://www.w3.org/2000/svg" class="diagram" role="img" viewBox="${viewBox}" width="${Math.round(Number(width))}">
<title>${escapeXml(title)}</title>
<desc>${escapeXml(about.join(' ').trim())}</desc>
${STYLE}
${shapes.trim()}
</svg>
`;
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
