/** The members of Node's responses by which headers leave. */
export interface HeaderWriter {
  writeHead(status: number, ...rest: readonly unknown[]): unknown;
  getHeaderNames(): readonly string[];
  removeHeader(name: string): unknown;
}

/** The members of Node's responses that this file uses. */
export interface NodeAnswer {
  readonly writableLength: number;
  readonly socket?: { readonly remoteAddress?: string | undefined } | null;
  statusCode: number;
  setHeader(name: string, value: string): unknown;
  flushHeaders(): void;
  write(text: string): boolean;
  end(body?: string | Uint8Array): unknown;
  once(event: 'close', listener: () => void): unknown;
  destroy(): unknown;
}

/** What a handler gets as `@Res()`: Express' response, which is Node's own, or Fastify's reply around it. */
export type FrameworkAnswer = NodeAnswer & {
  readonly raw?: NodeAnswer;
  hijack?(): unknown;
};

/** Nothing but files of the module, and its own data; no frame around it. */
const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  // `no-transform` keeps middleware that compresses from holding events back.
  'cache-control': 'no-store, no-transform',
};

/** By which an application lets pages of other origins read its answers. */
const CORS_HEADER = /^access-control-/i;

/**
 * Takes the headers by which the application lets other origins read its answers (CORS) off an answer as it
 * leaves, those of guards, of filters and to `OPTIONS` included: no page is to find out that there is an inspector.
 */
export function keepFromOtherOrigins(response: HeaderWriter): void {
  const writeHead = response.writeHead.bind(response);
  response.writeHead = (status, ...rest) => {
    response
      .getHeaderNames()
      .filter((name) => CORS_HEADER.test(name))
      .forEach((name) => response.removeHeader(name));
    return writeHead(status, ...rest.map(withoutCors));
  };
}

/** Fastify gives all headers with the status. */
function withoutCors(argument: unknown): unknown {
  if (typeof argument !== 'object' || argument === null || Array.isArray(argument)) {
    return argument;
  }
  return Object.fromEntries(Object.entries(argument).filter(([name]) => !CORS_HEADER.test(name)));
}

/**
 * Takes an answer over from the framework, so that no interceptor changes it, and gives it the headers of
 * the page.
 */
export function takeOver(answer: FrameworkAnswer, contentType: string): NodeAnswer {
  answer.hijack?.();
  const node = answer.raw ?? answer;
  for (const [name, value] of Object.entries(HEADERS)) {
    node.setHeader(name, value);
  }
  node.setHeader('content-type', contentType);
  return node;
}
