/*
 * postgres.h
 *		What cppcheck has to know of PostgreSQL, which it does not read: the
 *		macros that steer, and what does not return.
 */
/* without a version compat.h is an #error, and cppcheck passes over the file */
#define PG_VERSION_NUM 180000
#define ERROR 21
#define FATAL 22
#define PANIC 23
#define ereport(level, ...) do { if ((level) >= ERROR) abort(); } while (0)
#define elog(level, ...) do { if ((level) >= ERROR) abort(); } while (0)
#define pg_attribute_noreturn() __attribute__((noreturn))
#define pg_unreachable() abort()
#define foreach(cell, list) for (cell = first(list); cell; cell = next(cell))
#define dlist_foreach(i, list) for (i.cur = first(list); i.cur; i.cur = next(i.cur))
#define dlist_foreach_modify(i, list) dlist_foreach(i, list)
#define PG_TRY() do { if (may_throw()) {
#define PG_CATCH() } else {
#define PG_FINALLY() } {
#define PG_END_TRY() } } while (0)
#define PG_RE_THROW() abort()
#define PG_MODULE_MAGIC extern int magic
#define PG_FUNCTION_INFO_V1(name) extern int name##_info
#define XL_ROUTINE(...) 0
