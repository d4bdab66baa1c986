/**
 * The answers of PostgreSQL to the statements of the workloads, as bytes of its protocol; see "Message
 * Formats" in its manual. There is one table with one row that is always the same, so an answer depends
 * only on the request and the transaction status.
 */

/** Transaction status of a `ReadyForQuery`: idle, or in a transaction. */
type Status = 'I' | 'T';

interface Answer {
  readonly bytes: Buffer;
  readonly status: Status;
}

const INT4 = 23;
const TEXT = 25;
const COLUMNS = [
  ['id', INT4],
  ['owner', TEXT],
  ['balance', INT4],
] as const;
const INSERTED_ID = '1001';
const TEXT_ARRAY = 1009;
/** What `begin: 'first-write'` asks the catalogue for once: names behind which code may hide. */
const HIDDEN = ['relations', 'functions', 'attributes', 'operators'];

function message(type: string, ...parts: readonly (Buffer | string)[]): Buffer {
  const body = Buffer.concat(
    parts.map((part) => (typeof part === 'string' ? Buffer.from(`${part}\0`) : part)),
  );
  const head = Buffer.alloc(5, type);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

const readyForQuery = (status: Status): Buffer => message('Z', Buffer.from(status));

function rowDescription(columns: readonly (readonly [name: string, type: number])[]): Buffer {
  const fields = columns.flatMap(([name, type], index) => [
    name,
    int32(16_384),
    int16(index + 1),
    int32(type),
    int16(type === INT4 ? 4 : -1),
    int32(-1),
    int16(0),
  ]);
  return message('T', int16(columns.length), ...fields);
}

function dataRow(values: readonly string[]): Buffer {
  const fields = values.flatMap((value) => [int32(value.length), Buffer.from(value)]);
  return message('D', int16(values.length), ...fields);
}

/** The answer to the log-in of a client without a password. */
export const LOG_IN_ANSWER = Buffer.concat([
  message('R', int32(0)),
  message('S', 'server_version', '18.0'),
  message('S', 'server_encoding', 'UTF8'),
  message('S', 'client_encoding', 'UTF8'),
  message('S', 'standard_conforming_strings', 'on'),
  message('S', 'integer_datetimes', 'on'),
  message('K', int32(4_711), int32(42)),
  readyForQuery('I'),
]);

const COMMAND =
  /^(begin|commit|rollback to savepoint|rollback|savepoint|release|set|select|insert|update)\b/;

/** The answer to one statement, and the transaction status after it. */
function answerTo(statement: string, id: string, before: Status): Answer {
  if (statement.includes('pg_catalog')) {
    const columns = HIDDEN.map((name) => [name, TEXT_ARRAY] as const);
    const row = dataRow(HIDDEN.map(() => '{}'));
    return {
      bytes: Buffer.concat([rowDescription(columns), row, message('C', 'SELECT 1')]),
      status: before,
    };
  }
  const [, command] = COMMAND.exec(statement) ?? [];
  switch (command) {
    case 'begin':
      return { bytes: message('C', 'BEGIN'), status: 'T' };
    case 'commit':
    case 'rollback':
      return { bytes: message('C', command.toUpperCase()), status: 'I' };
    case 'savepoint':
      return { bytes: message('C', 'SAVEPOINT'), status: before };
    case 'release':
      return { bytes: message('C', 'RELEASE'), status: before };
    case 'rollback to savepoint':
      return { bytes: message('C', 'ROLLBACK'), status: before };
    case 'set':
      return { bytes: message('C', 'SET'), status: before };
    case 'select': {
      const row = [rowDescription(COLUMNS), dataRow([id, `owner ${id}`, '100'])];
      return { bytes: Buffer.concat([...row, message('C', 'SELECT 1')]), status: before };
    }
    case 'insert': {
      const row = [rowDescription(COLUMNS.slice(0, 1)), dataRow([INSERTED_ID])];
      return { bytes: Buffer.concat([...row, message('C', 'INSERT 0 1')]), status: before };
    }
    case 'update':
      return { bytes: message('C', 'UPDATE 1'), status: before };
    default:
      throw new Error(`There is no canned answer to "${statement}".`);
  }
}

/** The answer to a simple query, which may consist of several statements. */
function answerToQuery(text: string, before: Status): Answer {
  const statements = text
    .toLowerCase()
    .split(';')
    .map((each) => each.trim());
  const parts: Buffer[] = [];
  let status = before;
  for (const statement of statements.filter((each) => each !== '')) {
    const [, id] = /"id" = (\d+)/.exec(statement) ?? [];
    const answer = answerTo(statement, id ?? '1', status);
    parts.push(answer.bytes);
    ({ status } = answer);
  }
  return { bytes: Buffer.concat([...parts, readyForQuery(status)]), status };
}

/** The answer to Parse, Bind, Describe, Execute and Sync of one statement. */
function answerToPrepared(request: Buffer, before: Status): Answer {
  const nameEnd = request.indexOf(0, 5);
  const textEnd = request.indexOf(0, nameEnd + 1);
  const statement = request.toString('utf8', nameEnd + 1, textEnd).toLowerCase();
  const bind = 1 + request.readInt32BE(1);
  const answer = answerTo(statement.trim(), lastParameter(request, bind) ?? '1', before);
  const { bytes, status } = answer;
  // A statement without columns is described by NoData ("n") in place of a RowDescription.
  const described = bytes[0] === 'T'.charCodeAt(0) ? [] : [message('n')];
  const parts = [message('1'), message('2'), ...described, bytes, readyForQuery(status)];
  return { bytes: Buffer.concat(parts), status };
}

/** The id of the row, which is the last parameter of a statement that has parameters. */
function lastParameter(request: Buffer, bind: number): string | undefined {
  // The names of portal and statement are empty; each format is a number of two bytes.
  const formats = request.readInt16BE(bind + 7);
  let offset = bind + 9 + formats * 2;
  const count = request.readInt16BE(offset);
  offset += 2;
  let value: string | undefined;
  for (let index = 0; index < count; index++) {
    const length = request.readInt32BE(offset);
    value = request.toString('utf8', offset + 4, offset + 4 + length);
    offset += 4 + length;
  }
  return value;
}

/** The answers of one connection. Each answer is made once for all connections, and then looked up. */
export class CannedSession {
  static readonly #known: Readonly<Record<Status, Map<string, Answer>>> = {
    I: new Map(),
    T: new Map(),
  };
  #status: Status = 'I';

  /**
   * @param request whole messages, of which the last one asks for an answer
   * @throws Error for a statement that no workload has
   */
  answer(request: string): Buffer {
    const known = CannedSession.#known[this.#status];
    let answer = known.get(request);
    if (answer === undefined) {
      const bytes = Buffer.from(request, 'latin1');
      answer = request.startsWith('Q')
        ? answerToQuery(bytes.toString('utf8', 5, bytes.length - 1), this.#status)
        : answerToPrepared(bytes, this.#status);
      known.set(request, answer);
    }
    this.#status = answer.status;
    return answer.bytes;
  }
}
