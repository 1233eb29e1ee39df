/*
 * advice.h
 *		What to do about a reason that brings no hint of its own.
 */
#ifndef EVPUB_ADVICE_H
#define EVPUB_ADVICE_H

/* A sentence for whoever is on call; never NULL. */
extern const char *evpub_advice(const char *reason);

#endif							/* EVPUB_ADVICE_H */
