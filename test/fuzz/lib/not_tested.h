/*
 * not_tested.h
 *		Ends what tested.h has begun.
 */

/* deliberately without a guard */

#pragma clang section bss = "" data = ""
