/** A run with a fake connection, for the tests of models and views. */
import { FakeConnection } from '../src/connection/fake';
import { Runs } from '../src/model/runs';
import type { IRun } from '../src/tokens';
import { snapshot } from './samples';

/** Runs that show one live, watched run which has told `snapshot(part)`. */
export function liveRuns(part: Parameters<typeof snapshot>[0] = {}): {
  runs: Runs;
  run: IRun;
  connection: FakeConnection;
} {
  const connection = new FakeConnection();
  const runs = new Runs();
  runs.visible = true;
  runs.add('kernel', connection);
  runs.show('kernel');
  connection.receive(snapshot(part));
  return { runs, run: runs.current!, connection };
}

/** Lets promises that are already settled take effect. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) {
    await Promise.resolve();
  }
}
