/** One request to try. */
export interface Step {
  readonly method?: 'GET' | 'POST';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: object;
  /** HTTP status of the answer. */
  readonly status: number;
  /** What to look for in it. */
  readonly expect: string;
}

/**
 * What to try, in this order, as lines for a shell.
 *
 * @param url of the running sample
 */
export function walkthrough(url: string, steps: readonly Step[]): string {
  return `
The sample listens on ${url} - try these in another terminal, in this order. Ctrl-C ends it.

${steps.map((step) => `# ${step.status}: ${step.expect}\n${curl(url, step)}\n`).join('\n')}`;
}

/** The same request, for a test of what the walkthrough says. */
export function send(url: string, { method, path, headers, body }: Step): Promise<Response> {
  return fetch(`${url}${path}`, {
    method: method ?? 'GET',
    headers: { ...headers, ...(body === undefined ? {} : JSON_HEADER) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

const JSON_HEADER = { 'content-type': 'application/json' };

function curl(url: string, { method, path, headers = {}, body }: Step): string {
  const all = Object.entries(body === undefined ? headers : { ...headers, ...JSON_HEADER });
  return [
    // The status follows the body, on a line of its own.
    String.raw`curl -s -w '\n%{http_code}\n'`,
    // With a body curl sends a POST by itself.
    ...(method === 'POST' && body === undefined ? ['-X POST'] : []),
    ...all.map(([name, value]) => `-H '${name}: ${value}'`),
    ...(body === undefined ? [] : [`-d '${JSON.stringify(body)}'`]),
    `${url}${path}`,
  ].join(' ');
}
