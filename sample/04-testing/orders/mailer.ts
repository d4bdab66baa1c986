import { Injectable, Logger } from '@nestjs/common';

/** Stands for a mail server. What it has sent, no rollback takes back. */
@Injectable()
export class Mailer {
  readonly #logger = new Logger(Mailer.name);

  async send(to: string, text: string): Promise<void> {
    this.#logger.log(`to ${to}: ${text}`);
  }
}
