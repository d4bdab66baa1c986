/** The members of Node's responses that this file uses. */
export interface NodeAnswer {
  readonly writableLength: number;
  statusCode: number;
  setHeader(name: string, value: string): unknown;
  getHeaderNames(): readonly string[];
  removeHeader(name: string): unknown;
  flushHeaders(): void;
  write(text: string): boolean;
  end(body?: string | Uint8Array): unknown;
  once(event: 'close', listener: () => void): unknown;
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

/**
 * Takes an answer over from the framework, so that no interceptor changes it, and gives it the headers of
 * the page. Those by which the application lets other origins read its answers (CORS) do not hold for it.
 */
export function takeOver(answer: FrameworkAnswer, contentType: string): NodeAnswer {
  answer.hijack?.();
  const node = answer.raw ?? answer;
  for (const name of node.getHeaderNames()) {
    if (name.startsWith('access-control-')) {
      node.removeHeader(name);
    }
  }
  for (const [name, value] of Object.entries(HEADERS)) {
    node.setHeader(name, value);
  }
  node.setHeader('content-type', contentType);
  return node;
}
