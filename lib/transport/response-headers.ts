import { heldHeadOf } from './held-head.js';
import { headersWereSent, type HttpResponse } from './http-exchange.js';

/** Sets a header, in place of its earlier value; does nothing once the headers have left. */
export function setHeader(
  response: HttpResponse,
  name: string,
  value: string | readonly string[],
): void {
  const heldHead = heldHeadOf(response.raw ?? response);
  if (heldHead !== undefined) {
    heldHead.set(name, value);
    return;
  }
  if (headersWereSent(response)) {
    return;
  }
  if (response.raw === undefined) {
    response.setHeader?.(name, value);
  } else {
    response.removeHeader?.(name);
    response.header?.(name, value);
  }
}

/**
 * Sets a cookie beside the others, in place of an earlier one of the same name.
 *
 * @param name the name of the cookie
 * @param cookie the whole header: `name=value; Path=/`
 */
export function setCookie(response: HttpResponse, name: string, cookie: string): void {
  const heldHead = heldHeadOf(response.raw ?? response);
  const current =
    (heldHead === undefined
      ? response.getHeader?.('set-cookie')
      : (heldHead.get('set-cookie') as string | readonly string[] | undefined)) ?? [];
  const others = (Array.isArray(current) ? (current as string[]) : [String(current)]).filter(
    (each) => !each.startsWith(`${name}=`),
  );
  setHeader(response, 'set-cookie', [...others, cookie]);
}

/** The first cookie of a name in a `Cookie` header. */
export function cookieOf(header: unknown, name: string): string | undefined {
  if (typeof header !== 'string') {
    return undefined;
  }
  return header
    .split(';')
    .map((each) => each.trim())
    .find((each) => each.startsWith(`${name}=`))
    ?.slice(name.length + 1);
}
