const DIGITS = String.raw`\d(?:[\d.,  ]*\d)?`;
const WORDS =
  '(?:half an?|a few|some|one|two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|thirty|sixty)';
const NUMBER = `(?:${DIGITS}|${WORDS})`;
const UNIT = String.raw`(?:(?:ms|[µu]s|ns|s|(?:milli|micro|nano)?seconds?|minutes?|hours?|[kKMG]i?B|bytes?|percent)\b|%)`;

/** A time or a size, and what else is a limit where an option has it, and a figure elsewhere. */
const QUANTITY = new RegExp(String.raw`(?<![\w.])(?:${DIGITS}[ -]?|${WORDS}[ -])${UNIT}`, 'g');

/** What no option is given in: rates, ratios, and how many of how many. */
const NEVER_SET = [
  new RegExp(String.raw`(?<![\w.])${NUMBER} requests(?:/s| a second| per second)`, 'g'),
  new RegExp(
    String.raw`(?<![\w.])${NUMBER} times (?:as|the|one|that|those|longer|more|less)\b`,
    'g',
  ),
  /\btwice (?:as (?:fast|much|many)|the time|the throughput)\b/g,
  /(?<![\w.])\d+(?: [a-z]+)? of (?:the (?:next )?)?\d+\b(?!\.\d)/g,
  /(?<![\w.])\d+ × /g,
  /\b(?:half|third|quarter|tenth|hundredth)s? of (?:its|the|their) (?:time|throughput|memory|heap)/g,
  // Of a version, as in "Drizzle 0.45", the name stands before it.
  /(?<![\w.])(?<!(?:[A-Z]\w*|`) )0\.\d\d(?![\w.]|\.\d)|(?<![\w.])(?<!version )\d\.\d\d of\b/g,
];

/** What ends right before a limit: the name of an option or a setting that has it, or that it is fixed. */
const SET_BEFORE =
  /(?:`[\w.]*(?:Ms|Seconds|Bytes|_[a-z_]+)`(?: is| of|:| *\|)?[ (]*|\b(?:limit of|a fixed) )$/;
/** What follows on a default. */
const SET_AFTER = /^,? (?:by default|unless set)\b/;

/**
 * The figures of a text that somebody must have measured. A time or a size is none where it is what an option is
 * set to: the name of the option stands right before it (`` `hookTimeoutMs` (10 s) ``), or it is said to be a
 * default, or fixed. Everything else counts, so that nothing is taken for an option that is not said to be one.
 */
export function measuredFigures(markdown: string): string[] {
  // What stands in code, a setting for one, has been measured by nobody.
  const text = markdown.replaceAll(/`[^`\n]*`/g, (code) => code.replaceAll(/\d/g, '#'));
  const quantities = [...text.matchAll(QUANTITY)].filter(
    ({ index, 0: figure }) =>
      !SET_BEFORE.test(text.slice(0, index)) && !SET_AFTER.test(text.slice(index + figure.length)),
  );
  const others = NEVER_SET.flatMap((pattern) => [...text.matchAll(pattern)]);
  return [...quantities, ...others]
    .toSorted((one, other) => one.index - other.index)
    .map(([figure]) => figure.trim());
}

/** Units in the head of a table, whose cells have the numbers alone. */
const HEAD = /(?:\b(?:ms|[µu]s|ns|MB|MiB|bytes|requests\/s)\b|%)/;

/** A part of a page that has to say by itself where its figures are from. */
export interface FigurePlace {
  readonly text: string;
  /** What leads into it: the paragraph before a table or a list. */
  readonly leadIn: string;
  readonly figures: readonly string[];
}

/** The paragraphs, items of lists, rows of tables and marked blocks of a page that have figures. */
export function figurePlaces(page: string): FigurePlace[] {
  const prose = page.replace(/^---\n.*?^---$/ms, '').replaceAll(/^ *```.*?^ *```$/gms, '');
  const places: FigurePlace[] = [];
  let leadIn = '';
  for (const block of blocksOf(prose)) {
    const parts = partsOf(block);
    for (const text of parts) {
      const figures = measuredFigures(text);
      if (figures.length > 0) {
        places.push({ text, leadIn: isLed(block) ? leadIn : '', figures });
      }
    }
    leadIn = isLed(block) ? leadIn : block;
  }
  return places;
}

/** Blocks between empty lines; a block of figures that a script writes is one. */
function blocksOf(prose: string): string[] {
  return prose
    .replaceAll(/^<!-- figures:.*?^<!-- \/figures -->$/gms, (block) =>
      block.replaceAll(/\n\n+/g, '\n'),
    )
    .split(/\n\s*\n/)
    .map((block) => block.trim())
    .filter((block) => block !== '');
}

const isTable = (block: string): boolean => block.startsWith('|');
const isList = (block: string): boolean => /^(?:[-*]|\d+\.) /.test(block);
const isLed = (block: string): boolean => isTable(block) || isList(block);

function partsOf(block: string): string[] {
  if (isTable(block)) {
    const [head = '', , ...rows] = block.split('\n');
    return HEAD.test(head.replaceAll(/`[^`]*`/g, '')) ? [`${head}\n1 ms`, ...rows] : rows;
  }
  return isList(block) ? block.split(/\n(?=\s*(?:[-*]|\d+\.) )/) : [block];
}
