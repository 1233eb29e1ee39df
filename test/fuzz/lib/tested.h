/*
 * tested.h
 *		From here on, variables are in the sections that restore.h puts back.
 */

/* deliberately without a guard */

#pragma clang section bss = "tested_bss" data = "tested_data"
