/*
 * parameters.h
 *		Defining the extension's configuration parameters (evpub.*).
 */
#ifndef EVPUB_PARAMETERS_H
#define EVPUB_PARAMETERS_H

/* Define them all; call while the library is loaded. */
extern void evpub_parameters_define(void);

#endif							/* EVPUB_PARAMETERS_H */
