#include "postgres.h"
#include "evpub.h"
#include "publisher/publisher.h"
bool evpub_preloaded(void) { return true; }
void evpub_wake_publisher(XLogRecPtr lsn) { (void) lsn; }
bool evpub_database_registered(void) { return true; }
void evpub_publisher_init(void) {}
