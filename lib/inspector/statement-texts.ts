import { UNMASKED, type StatementEvent } from '../telemetry/operation-events.js';
import { bytesOfText, shortened } from './kept-text.js';

const BEGIN = /^\s*(?:begin|start\s+transaction)\b/i;
const COMMIT = /^\s*commit\b/i;

/** The texts of a message to the server, as far as they are kept. */
export interface StatementTexts {
  readonly sql: string;
  readonly shown: string | undefined;
  readonly values: string | undefined;
  readonly begins: boolean;
  readonly commits: boolean;
}

/** @param showValues whether the values in it, and its parameters, are kept as well */
export function textsOf(event: StatementEvent, showValues: boolean): StatementTexts {
  const { texts, values } = event[UNMASKED];
  const isOfSeveral = texts.length > 1;
  return {
    sql: shortened(event.sql),
    shown: showValues ? shortened(mainOf(event, texts)) : undefined,
    values: showValues && values.length > 0 ? shortened(printed(values)) : undefined,
    begins: event.kind === 'statement' && isOfSeveral && BEGIN.test(texts[0] ?? ''),
    commits: event.kind !== 'commit' && isOfSeveral && COMMIT.test(texts.at(-1) ?? ''),
  };
}

/** How many bytes they take, about. */
export function bytesOf({ sql, shown, values }: StatementTexts): number {
  return bytesOfText(sql) + bytesOfText(shown) + bytesOfText(values);
}

/** The text that stands for the message, with its values. */
function mainOf({ texts: masked, sql }: StatementEvent, texts: readonly string[]): string {
  return texts[masked.indexOf(sql)] ?? texts.at(-1) ?? '';
}

function printed(values: readonly unknown[]): string {
  try {
    return JSON.stringify(values, (_key, value: unknown) =>
      typeof value === 'bigint' ? `${value}` : value,
    );
  } catch {
    return values.map(String).join(', ');
  }
}
