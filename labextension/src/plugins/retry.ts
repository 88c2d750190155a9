/** Adds the commands that retry failed tasks. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, ICommandPalette, showDialog } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Commands } from '../commands';
import { count } from '../components/format';
import { sum } from '../model/states';
import { FAILURES } from '../protocol';
import { notify } from '../notify';
import type { IRun } from '../tokens';
import { IParslPanel, IRuns } from '../tokens';

/** Most tasks that the command retries without a confirmation. */
const MANY = 100;

export const retryPlugin: JupyterFrontEndPlugin<void> = {
  id: 'parslab:retry',
  description: 'Tries failed tasks again.',
  autoStart: true,
  requires: [IRuns, IParslPanel],
  optional: [ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    runs: IRuns,
    panel: IParslPanel,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('parslab');
    const sure = async (failed: number) => {
      const answer = await showDialog({
        title: trans.__('Retry %1 failed tasks?', count(failed)),
        body: trans.__('They run again with the current definitions of their apps. Existing results are kept.'),
        buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Retry failed') })]
      });
      return answer.button.accept;
    };
    app.commands.addCommand(Commands.retryTask, {
      label: trans.__('Retry the Selected Task'),
      describedBy: { args: { type: 'object', properties: { task: { type: 'number' } } } },
      isEnabled: args => runs.current?.status === 'live' && (args.task ?? panel.selection.task) !== null,
      execute: async args => {
        const task = args.task ?? panel.selection.task;
        if (typeof task === 'number') {
          await notify(runs.current?.retry([task]));
        }
      }
    });
    app.commands.addCommand(Commands.retryFailed, {
      label: trans.__('Retry All Failed Tasks'),
      describedBy: { args: { type: 'object', properties: { app: { type: 'string' } } } },
      isEnabled: () => runs.current?.status === 'live',
      execute: async args => {
        const run = runs.current;
        const name = typeof args.app === 'string' ? args.app : '';
        const failed = run ? failures(run, name) : 0;
        if (failed <= MANY || (await sure(failed))) {
          await notify(run?.retry('failed', name));
        }
      }
    });
    const category = trans.__('Parsl');
    palette?.addItem({ command: Commands.retryTask, category });
    palette?.addItem({ command: Commands.retryFailed, category });
  }
};

function failures(run: IRun, app: string): number {
  const { overview } = run;
  return sum((app ? overview?.apps[app] : overview?.counts) ?? {}, FAILURES);
}
