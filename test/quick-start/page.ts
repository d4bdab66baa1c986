/** A command that a page tells its reader to type, and what it then prints, where the page shows that. */
export interface Command {
  readonly kind: 'command';
  readonly text: string;
  readonly answer: string | undefined;
}

/** A file that a page tells its reader to write. */
export interface File {
  readonly kind: 'file';
  readonly path: string;
  readonly text: string;
}

export type Step = Command | File;

const BLOCK =
  /(?<skipped><!-- not run -->\n\n)?(?:^`(?<path>[^`\n]+)`\n\n)?^```(?<language>\w+)\n(?<text>.*?)^```/gms;

/**
 * Reads what a reader of a page is to do, from top to bottom: blocks of `sh` are commands, one on each line,
 * blocks of `ts` are files whose path stands above them, and a block of `json` is the answer to the command
 * before it. A block under `<!-- not run -->` is left to readers.
 *
 * @param markdown text of the page
 */
export function stepsOf(markdown: string): Step[] {
  const steps: Step[] = [];
  for (const { groups = {} } of markdown.matchAll(BLOCK)) {
    const { skipped, path, language, text = '' } = groups;
    if (skipped !== undefined) {
      continue;
    }
    if (language === 'sh') {
      for (const line of text.trimEnd().split('\n')) {
        steps.push({ kind: 'command', text: line, answer: undefined });
      }
    } else if (language === 'ts' && path !== undefined) {
      steps.push({ kind: 'file', path, text });
    } else {
      const last = steps.at(-1);
      if (language !== 'json' || last?.kind !== 'command') {
        throw new Error(`Neither a command, nor a file with its path, nor an answer:\n${text}`);
      }
      steps.splice(-1, 1, { ...last, answer: text });
    }
  }
  return steps;
}
