/**
 * Messages from server to client, as bytes. Those that are wrong on purpose are made with `message()`.
 * See "Message Formats" in the PostgreSQL manual.
 */

/** What `ReadyForQuery` says of the transaction: none, open, failed. Any other letter is wrong. */
export type Status = 'I' | 'T' | 'E' | (string & {});

/** A column of a result: its name, and the OID of its type. */
export interface Column {
  readonly name: string;
  readonly type: 'integer' | 'text' | 'boolean';
}

const OIDS = { integer: 23, text: 25, boolean: 16 } as const;

/** Any message: its type, its body, and the length that it claims to have, which counts itself. */
export function message(type: string, body: Buffer | string = '', length?: number): Buffer {
  const bytes = Buffer.from(body);
  const head = Buffer.alloc(5, type);
  head.writeUInt32BE(length ?? bytes.length + 4, 1);
  return Buffer.concat([head, bytes]);
}

/** `Authentication…` by its code: 0 is Ok, 3 asks for a password in clear text. */
export function authentication(code: number): Buffer {
  return message('R', int32(code));
}

export function backendKeyData(pid: number, secretKey: number): Buffer {
  return message('K', Buffer.concat([int32(pid), int32(secretKey)]));
}

export function parameterStatus(name: string, value: string): Buffer {
  return message('S', `${name}\0${value}\0`);
}

export function notification(channel: string, payload: string): Buffer {
  return message('A', Buffer.concat([int32(1), Buffer.from(`${channel}\0${payload}\0`)]));
}

export function readyForQuery(status: Status): Buffer {
  return message('Z', status);
}

export function commandComplete(tag: string): Buffer {
  return message('C', `${tag}\0`);
}

export function rowDescription(columns: readonly Column[]): Buffer {
  const fields = columns.map(({ name, type }) =>
    Buffer.concat([
      Buffer.from(`${name}\0`),
      int32(0),
      int16(0),
      int32(OIDS[type]),
      int16(-1),
      int32(-1),
      int16(0),
    ]),
  );
  return message('T', Buffer.concat([int16(columns.length), ...fields]));
}

export function dataRow(values: readonly string[]): Buffer {
  const fields = values.flatMap((value) => [int32(Buffer.byteLength(value)), Buffer.from(value)]);
  return message('D', Buffer.concat([int16(values.length), ...fields]));
}

/** `ErrorResponse` with the fields that the server always sends. */
export function errorResponse(severity: 'ERROR' | 'FATAL', code: string, text: string): Buffer {
  return message('E', `S${severity}\0V${severity}\0C${code}\0M${text}\0\0`);
}

export function notice(text: string): Buffer {
  return message('N', `SNOTICE\0VNOTICE\0C00000\0M${text}\0\0`);
}

export function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}
