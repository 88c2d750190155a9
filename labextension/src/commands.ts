/** The commands of the extension, `parslab:verb-noun`. */
export const Commands = {
  openPanel: 'parslab:open-panel',
  showOverview: 'parslab:show-overview',
  showGraph: 'parslab:show-graph',
  /** `{states?: string[], apps?: string[]}` filters the table. */
  showTasks: 'parslab:show-tasks',
  /** `{task?: number}`; asks for the id when there is none. */
  showTask: 'parslab:show-task',
  /** `{task?: number}`; the selected task when there is none. */
  cancelTask: 'parslab:cancel-task',
  cancelAll: 'parslab:cancel-all',
  /** `{cell?: string, client?: number}`: `In [3]`; the active cell of the notebook in front when there is none. */
  cancelCell: 'parslab:cancel-cell',
  /** `{task?: number}`; the selected task when there is none. */
  retryTask: 'parslab:retry-task',
  /** `{app?: string}`: only tasks of this app, and those that failed because of one. */
  retryFailed: 'parslab:retry-failed',
  /** `{seconds?: number}`: how long the run outlives its notebook; asks when there is none. */
  keepRun: 'parslab:keep-run',
  /** Attaches the kernel in front to the run that it had before it was restarted. */
  attachRun: 'parslab:attach-run',
  showBlocks: 'parslab:show-blocks',
  /** `{executor, block, action}`: hold, release, drain or cancel. */
  commandBlock: 'parslab:command-block',
  /** `{executor, blocks}` */
  scaleExecutor: 'parslab:scale-executor'
} as const;
