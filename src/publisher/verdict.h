/*
 * verdict.h
 *		What the worker is to do, by what it found when it started and what has
 *		come since.
 */
#ifndef EVPUB_VERDICT_H
#define EVPUB_VERDICT_H

typedef enum EvpubVerdict
{
	EVPUB_NOTHING,				/* nothing to do: no database is registered here */
	EVPUB_PUBLISH,
	EVPUB_STAND_FENCED,
	EVPUB_STAND_GAP
} EvpubVerdict;

#endif							/* EVPUB_VERDICT_H */
