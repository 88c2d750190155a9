/** Adds the commands that cancel tasks. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, ICommandPalette, showDialog } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Commands } from '../commands';
import { notify } from '../notify';
import { IParslPanel, IRuns } from '../tokens';

export const cancelPlugin: JupyterFrontEndPlugin<void> = {
  id: 'parslab:cancel',
  description: 'Cancels tasks of the run.',
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
    const cancel = (tasks: number[] | 'all') => notify(runs.current?.cancel(tasks));
    app.commands.addCommand(Commands.cancelTask, {
      label: trans.__('Cancel the Selected Task'),
      describedBy: { args: { type: 'object', properties: { task: { type: 'number' } } } },
      isEnabled: args => runs.current?.status === 'live' && (args.task ?? panel.selection.task) !== null,
      execute: async args => {
        const task = args.task ?? panel.selection.task;
        if (typeof task === 'number') {
          await cancel([task]);
        }
      }
    });
    app.commands.addCommand(Commands.cancelAll, {
      label: trans.__('Cancel All Tasks…'),
      describedBy: { args: { type: 'object', properties: {} } },
      isEnabled: () => runs.current?.status === 'live',
      execute: async () => {
        const answer = await showDialog({
          title: trans.__('Cancel all tasks?'),
          body: trans.__('All unfinished tasks of this run are cancelled. Existing results are kept.'),
          buttons: [
            Dialog.cancelButton({ label: trans.__('Keep running') }),
            Dialog.warnButton({ label: trans.__('Cancel all') })
          ]
        });
        if (answer.button.accept) {
          await cancel('all');
        }
      }
    });
    const category = trans.__('Parsl');
    palette?.addItem({ command: Commands.cancelTask, category });
    palette?.addItem({ command: Commands.cancelAll, category });
  }
};
