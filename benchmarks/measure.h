/* What both load programs measure with: a clock, latencies, and the line that tells the result. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define WARM_UP_S 0.3
#define MAX_LATENCIES 2000000

static unsigned long long work, opened, failed;
static double *latencies;
static size_t latency_count;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void fatal(const char *what) {
  perror(what);
  exit(1);
}

/* One unit of work, which took from `began` until now. */
static void note_work(double began) {
  work++;
  if (!latencies && !(latencies = malloc(MAX_LATENCIES * sizeof *latencies))) fatal("malloc");
  if (latency_count < MAX_LATENCIES) latencies[latency_count++] = now() - began;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double percentile(double part) {
  return latency_count ? latencies[(size_t)((latency_count - 1) * part)] * 1e6 : 0;
}

static void tell(unsigned long long work_before, double measured_from) {
  double seconds = now() - measured_from;
  qsort(latencies, latency_count, sizeof *latencies, ascending);
  printf("work=%llu seconds=%.4f total_work=%llu opened=%llu failed=%llu p50_us=%.0f p99_us=%.0f\n",
         work - work_before, seconds, work, opened, failed, percentile(.5), percentile(.99));
}
