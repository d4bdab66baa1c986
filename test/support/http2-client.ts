import { once } from 'node:events';
import { connect, constants, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import { text } from 'node:stream/consumers';

/** One connection of HTTP/2, whose requests can be taken back one by one. */
export class Http2Client {
  readonly #session: ClientHttp2Session;
  readonly #closed: Promise<unknown>;

  /**
   * @param url of the application, `http://host:port`, or `https://host:port`
   * @param options - `ca`: for `https:`, the authority of the application's certificate, in PEM
   */
  constructor(url: string, options: { readonly ca?: string } = {}) {
    this.#session = connect(url, options);
    this.#session.on('error', () => undefined);
    this.#closed = once(this.#session, 'close');
  }

  /** Sends a GET request. */
  get(path: string): Http2Request {
    return new Http2Request(this.#session.request({ ':path': path }));
  }

  /** Goes away at once, with all its requests. */
  async leave(): Promise<void> {
    this.#session.destroy();
    await this.#closed;
  }
}

export class Http2Request {
  readonly #stream: ClientHttp2Stream;
  readonly #status: Promise<number>;

  constructor(stream: ClientHttp2Stream) {
    this.#stream = stream;
    stream.on('error', () => undefined);
    this.#status = once(stream, 'response').then(
      ([headers]) => (headers as Record<string, number>)[':status']!,
    );
    this.#status.catch(() => undefined);
    stream.end();
  }

  async response(): Promise<{ readonly status: number; readonly body: string }> {
    return { status: await this.#status, body: await text(this.#stream) };
  }

  /** Takes the request back: RST_STREAM with CANCEL, as a browser does it. */
  reset(): void {
    this.#stream.close(constants.NGHTTP2_CANCEL);
  }
}
