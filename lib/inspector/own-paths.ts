import type { ApplicationConfig } from '@nestjs/core';

/** Which requests are those of the page of the inspector. */
export class OwnPaths {
  readonly #path: string;
  readonly #config: Pick<ApplicationConfig, 'getGlobalPrefix'>;

  constructor(path: string, config: Pick<ApplicationConfig, 'getGlobalPrefix'>) {
    this.#path = path;
    this.#config = config;
  }

  /** @param path of a request, without its query */
  has(path: string): boolean {
    // It is known when the application listens; and it may leave single paths out.
    const prefix = `/${this.#config.getGlobalPrefix()}`.replace(/^\/+/, '/').replace(/\/$/, '');
    return [this.#path, prefix + this.#path].some(
      (own) => path === own || path.startsWith(`${own}/`),
    );
  }
}
