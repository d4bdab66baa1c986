import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';

/** A PGlite in this process that answers on a port, as docs/testing.md has it. */
export interface PGliteServer {
  readonly pglite: PGlite;
  readonly url: string;
  close(): Promise<void>;
}

export async function startPGlite(): Promise<PGliteServer> {
  const pglite = await PGlite.create();
  const socket = new PGLiteSocketServer({ db: pglite, port: 0 });
  await socket.start();
  return {
    pglite,
    url: `postgres://postgres@${socket.getServerConn()}/postgres`,
    close: async () => {
      await socket.stop();
      await pglite.close();
    },
  };
}
