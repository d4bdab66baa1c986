import { attempt } from './attempt.js';
import { findDatabase, markDatabase } from './database-mark.js';
import { adminUrlOf, urlOf } from './database-names.js';
import { sweepLeftovers } from './leftovers.js';
import { NameClaim } from './name-claim.js';
import { OpenCopy } from './open-copy.js';
import { dropSql, ensureTemplate, type Template, type TemplatePlan } from './template-database.js';
import { copyTemplate, type CopyKind } from './worker-copy.js';
import { WorkerDatabaseError, WrongDatabaseError } from './worker-database-error.js';

/** The database of one worker, from the claim of its name to the end of it. */
export class OwnDatabase implements AsyncDisposable {
  readonly name: string;
  readonly #url: string;
  readonly #claim: NameClaim;
  readonly #plan: TemplatePlan;
  readonly #kind: CopyKind;
  /** Missing after a failure; then the next reset makes a new copy. */
  #copy: OpenCopy | undefined;
  #hasEnded = false;
  /** While it is being closed or dropped; a second call is the same as the first. */
  #ending: Promise<void> | undefined;

  private constructor(claim: NameClaim, plan: TemplatePlan, kind: CopyKind) {
    this.name = claim.name;
    this.#url = urlOf(plan.serverUrl, claim.name);
    this.#claim = claim;
    this.#plan = plan;
    this.#kind = kind;
  }

  static async create(plan: TemplatePlan, kind: CopyKind): Promise<OwnDatabase> {
    const claim = await attempt('create', plan.names.worker(1), () =>
      NameClaim.take(adminUrlOf(plan.serverUrl), plan.names),
    );
    const database = new OwnDatabase(claim, plan, kind);
    try {
      await attempt('create', claim.name, () => database.#open());
    } catch (error) {
      await database.#disconnect();
      await claim.abandon();
      throw error;
    }
    return database;
  }

  get url(): string {
    this.#claim.assertHeld();
    return this.#url;
  }

  async reset(): Promise<void> {
    await attempt('reset', this.name, async () => {
      if (this.#hasEnded) {
        throw new WorkerDatabaseError('reset', this.name, 'it was closed or dropped before');
      }
      await this.#claim.verify();
      if (!(await this.#copy?.restore())) {
        await this.#copyAnew();
      }
    });
  }

  async close(): Promise<void> {
    await (this.#kind === 'copy' ? this.drop() : this.#end(() => this.#claim.unmark()));
  }

  async drop(): Promise<void> {
    await this.#end(() => this.#claim.use((run) => run(dropSql(this.name))));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #open(): Promise<void> {
    const template = await this.#claim.use((run) => ensureTemplate(run, this.#plan));
    if (!(await this.#isTakenUp(template))) {
      await this.#copyAnew();
    }
    await this.#claim.use((run) => sweepLeftovers(run, this.#plan.names, this.name));
  }

  /** @returns whether an earlier worker has kept a copy, which is now as the template is */
  async #isTakenUp({ id }: Template): Promise<boolean> {
    const found =
      this.#kind === 'kept'
        ? await this.#claim.use((run) => findDatabase(run, this.name))
        : undefined;
    if (found === undefined || found === 'foreign') {
      return false;
    }
    const { mark } = found;
    if (mark.kind !== 'kept' || mark.templateId !== id) {
      return false;
    }
    await this.#claim.mark();
    this.#copy = await this.#connect({ ...found, id });
    try {
      return await this.#copy.restore();
    } catch (error) {
      // One that cannot be put back, because a client still has locks for one, is made anew.
      if (error instanceof WrongDatabaseError) {
        throw error;
      }
      return false;
    }
  }

  async #copyAnew(): Promise<void> {
    await this.#disconnect();
    const template = await this.#claim.use((run) =>
      copyTemplate(run, this.#plan, {
        name: this.name,
        kind: this.#kind,
        holder: this.#claim.holder,
      }),
    );
    this.#claim.expectMark();
    this.#copy = await this.#connect(template);
    try {
      await this.#copy.verify();
    } catch (error) {
      if (error instanceof WrongDatabaseError) {
        // Nobody has been in the database that was just made.
        await this.#claim.use((run) => run(dropSql(this.name)));
      }
      throw error;
    }
  }

  #connect({ id: templateId, contents, fixtures }: Template): Promise<OpenCopy> {
    const { template } = this.#plan.names;
    return OpenCopy.open(this.#url, { contents, fixtures }, async (run, now) => {
      // A later worker compares what it finds with the mark.
      if (this.#kind === 'kept') {
        await markDatabase(run, this.name, {
          mark: { kind: this.#kind, template, templateId, holder: this.#claim.holder },
          contents: now,
          fixtures,
        });
      }
    });
  }

  async #end(last: () => Promise<unknown>): Promise<void> {
    if (this.#hasEnded) {
      return;
    }
    this.#ending ??= this.#endOnce(last).finally(() => {
      this.#ending = undefined;
    });
    await this.#ending;
  }

  async #endOnce(last: () => Promise<unknown>): Promise<void> {
    await attempt('drop', this.name, async () => {
      await this.#disconnect();
      await last();
      await this.#claim.release();
      this.#hasEnded = true;
    });
  }

  async #disconnect(): Promise<void> {
    const copy = this.#copy;
    this.#copy = undefined;
    await copy?.close();
  }
}
