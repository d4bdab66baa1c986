/** Colours of a picture, in light and in dark. A line is also known by its dashes and its markers. */
export const STYLE = `
  svg { color-scheme: light dark; font-family: system-ui, -apple-system, 'Segoe UI', sans-serif; }
  .paper { fill: #ffffff; }
  .title { fill: #16181d; font-size: 16px; font-weight: 600; }
  .note, .tick { fill: #565d69; font-size: 12px; }
  .label { fill: #16181d; font-size: 13px; }
  .grid { stroke: #e3e6ea; }
  .axis { stroke: #8a919e; }
  .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
  .band { stroke: none; opacity: 0.16; }
  .name { font-size: 13px; font-weight: 600; }
  .library { stroke: #1f6fd0; }
  .library-fill { fill: #1f6fd0; }
  .hand-written { stroke: #b4540a; stroke-dasharray: 6 4; }
  .hand-written-fill { fill: #b4540a; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0f1217; }
    .title, .label { fill: #eceef2; }
    .note, .tick { fill: #a4acb8; }
    .grid { stroke: #262b33; }
    .axis { stroke: #6a7280; }
    .library { stroke: #6aaef5; }
    .library-fill { fill: #6aaef5; }
    .hand-written { stroke: #f0a35e; }
    .hand-written-fill { fill: #f0a35e; }
  }`;
