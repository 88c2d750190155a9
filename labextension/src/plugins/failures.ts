/** Adds the groups of failed tasks to the panel, and the commands that retry a group and copy a call as a cell. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Clipboard, Dialog, ICommandPalette, showDialog } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Commands } from '../commands';
import { count } from '../components/format';
import { OpenFailures } from '../model/failures';
import { notify } from '../notify';
import { FailuresView } from '../panels/failures';
import { IParslPanel, IRuns } from '../tokens';

/** Most tasks that the command retries without a confirmation. */
const MANY = 100;

export const failuresPlugin: JupyterFrontEndPlugin<void> = {
  id: 'parslab:failures',
  description: 'Groups the failed tasks of the run by their errors.',
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
    const actions = {
      retryGroup: (failures: number) => void app.commands.execute(Commands.retryGroup, { failures }),
      copyReproducer: (task: number) => void app.commands.execute(Commands.copyReproducer, { task }),
      showTask: (task: number) => panel.selection.select(task)
    };
    panel.addView({
      id: 'failures',
      label: trans.__('Failures'),
      rank: 35,
      content: new FailuresView(runs, new OpenFailures(runs), actions, trans),
      // Not only while there are some: the tab must not go away when the user retries the last group.
      fits: run => run?.hasFailed ?? false
    });

    const sure = async (tasks: number) => {
      const answer = await showDialog({
        title: trans.__('Retry %1 failed tasks?', count(tasks)),
        body: trans.__('They run again with the current definitions of their apps. Existing results are kept.'),
        buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Retry') })]
      });
      return answer.button.accept;
    };
    app.commands.addCommand(Commands.showFailures, {
      label: trans.__('Show the Failures of the Run'),
      describedBy: { args: { type: 'object', properties: {} } },
      isEnabled: () => runs.current?.hasFailed ?? false,
      execute: () => panel.open('failures')
    });
    app.commands.addCommand(Commands.retryGroup, {
      label: trans.__('Retry the Tasks That Failed Alike'),
      describedBy: { args: { type: 'object', properties: { failures: { type: 'number' } } } },
      isEnabled: () => runs.current?.status === 'live',
      execute: async args => {
        const run = runs.current;
        const group = run?.failures.get(args.failures as number);
        if (group && (group.tasks <= MANY || (await sure(group.tasks)))) {
          await notify(run?.retryGroup(group.number));
        }
      }
    });
    app.commands.addCommand(Commands.copyReproducer, {
      label: trans.__('Copy the Selected Task as a Cell'),
      describedBy: { args: { type: 'object', properties: { task: { type: 'number' } } } },
      isEnabled: args => runs.current?.status === 'live' && (args.task ?? panel.selection.task) !== null,
      execute: async args => {
        const task = args.task ?? panel.selection.task;
        if (typeof task === 'number') {
          await notify(
            runs.current?.reproducer(task).then(text => {
              Clipboard.copyToSystem(text);
              return trans.__('Copied: paste it into a cell.');
            })
          );
        }
      }
    });
    palette?.addItem({ command: Commands.showFailures, category: trans.__('Parsl') });
    palette?.addItem({ command: Commands.copyReproducer, category: trans.__('Parsl') });
  }
};
