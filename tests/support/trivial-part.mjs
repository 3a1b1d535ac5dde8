// A part that does nothing but say it is ready and run: what the supervisor needs to be tested with.
// Argument: its name. Ends on SIGTERM unless --stubborn.
const [name, flag] = process.argv.slice(2);
if (flag === '--stubborn') process.on('SIGTERM', () => {});
if (flag === '--broken') {
  console.error('this part cannot start');
  process.exit(7);
}
console.log(JSON.stringify({ part: name, status: 'ready' }));
setInterval(() => {}, 60_000);
