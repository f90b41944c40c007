"""Streamlit: what the runs scored, which model is champion, and the masks behind the numbers."""
