// Package sqlitedb opens the one database file of the embedded engine and owns
// everything that is true of it whatever is stored: the lock on the data
// directory, migrations, one writer, several readers.
//
// Promises:
//   - When [DB.Write] returns nil, the change is on disk (WAL, synchronous FULL)
//     and every later [DB.Read] sees it.
//   - When it returns an error, nothing of the change happened. The exception is
//     a failed COMMIT, whose outcome a crash may still decide either way, so jobs
//     have to be safe to repeat.
//   - One job's failure never undoes another's, though they share a transaction.
//   - A file locked by another program (a backup, a shell) is waited for.
//
// Words: a job is one function given to Write; a group commit is one transaction
// that carries several jobs; a priority says whose job goes first.
//
// Times are stored as whole microseconds since 1970, NULL for the zero time.
package sqlitedb
