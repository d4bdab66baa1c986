/**
 * Cuts the byte stream of PostgreSQL's frontend/backend protocol 3.0 into messages, see
 * "Frontend/Backend Protocol, Message Formats" in the PostgreSQL manual.
 */

const SSL_REQUEST = 80877103;
const GSS_ENCRYPTION_REQUEST = 80877104;
const CANCEL_REQUEST = 80877102;

/** One whole message; `bytes` is all of it, as it stood on the wire. */
export interface WireMessage {
  /**
   * The type byte as a character, or, for what has none, `startup`, `encryption` (a request for
   * TLS or GSS, or the one-byte answer to it) or `cancel`.
   */
  readonly type: string;
  readonly bytes: Buffer;
}

/** Collects chunks; subclasses say how the next message is found at the front of them. */
abstract class MessageStream {
  #pending: Buffer = Buffer.alloc(0);

  /** Takes the next chunk and returns the messages that it completes, in order. */
  push(chunk: Buffer): WireMessage[] {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    const messages: WireMessage[] = [];
    for (;;) {
      const message = this.next(this.#pending);
      if (message === undefined) return messages;
      this.#pending = this.#pending.subarray(message.bytes.length);
      messages.push(message);
    }
  }

  protected abstract next(pending: Buffer): WireMessage | undefined;
}

function typedMessage(pending: Buffer): WireMessage | undefined {
  if (pending.length < 5) return undefined;
  // The length counts itself but not the type byte.
  const length = 1 + pending.readInt32BE(1);
  if (pending.length < length) return undefined;
  return { type: String.fromCharCode(pending.readUInt8(0)), bytes: pending.subarray(0, length) };
}

/** Messages from client to server. */
export class FrontendMessages extends MessageStream {
  #started = false;

  protected override next(pending: Buffer): WireMessage | undefined {
    if (this.#started) return typedMessage(pending);
    if (pending.length < 8) return undefined;
    const length = pending.readInt32BE(0);
    if (pending.length < length) return undefined;

    const bytes = pending.subarray(0, length);
    switch (pending.readInt32BE(4)) {
      case SSL_REQUEST:
      case GSS_ENCRYPTION_REQUEST:
        return { type: 'encryption', bytes };
      case CANCEL_REQUEST:
        return { type: 'cancel', bytes };
      default:
        this.#started = true;
        return { type: 'startup', bytes };
    }
  }
}

/** Messages from server to client. */
export class BackendMessages extends MessageStream {
  #encryptionAnswers = 0;

  /** Says that the client asked for encryption: the server answers that with one bare byte. */
  expectEncryptionAnswer(): void {
    this.#encryptionAnswers += 1;
  }

  protected override next(pending: Buffer): WireMessage | undefined {
    if (this.#encryptionAnswers === 0) return typedMessage(pending);
    if (pending.length === 0) return undefined;
    this.#encryptionAnswers -= 1;
    return { type: 'encryption', bytes: pending.subarray(0, 1) };
  }
}

function textUntilZero(bytes: Buffer, start: number): { text: string; end: number } {
  const end = bytes.indexOf(0, start);
  return { text: bytes.toString('utf8', start, end), end };
}

/** The SQL that a frontend message carries: of Query and of Parse; of any other `undefined`. */
export function sqlOf({ type, bytes }: WireMessage): string | undefined {
  if (type === 'Q') return textUntilZero(bytes, 5).text;
  if (type === 'P') return textUntilZero(bytes, textUntilZero(bytes, 5).end + 1).text;
  return undefined;
}

/** The process id in BackendKeyData, which the server sends at log-in. */
export function backendPidOf(bytes: Buffer): number {
  return bytes.readInt32BE(5);
}
